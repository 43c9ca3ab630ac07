// Package sqltrace has the statements of a database be spans, where traces go somewhere.
package sqltrace

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// Open is [sql.Open]; the system is the database's name in the semantic conventions.
func Open(system, driverName, dsn string) (*sql.DB, error) {
	if !telemetry.Tracing() {
		return sql.Open(driverName, dsn)
	}
	return otelsql.Open(driverName, dsn, options(system)...)
}

// OpenDB is [sql.OpenDB].
func OpenDB(system string, c driver.Connector) *sql.DB {
	if !telemetry.Tracing() {
		return sql.OpenDB(c)
	}
	return otelsql.OpenDB(c, options(system)...)
}

func options(system string) []otelsql.Option {
	return []otelsql.Option{
		otelsql.WithAttributes(attribute.String("db.system.name", system)),
		otelsql.WithMeterProvider(noop.NewMeterProvider()),
		otelsql.WithSpanNameFormatter(func(_ context.Context, method otelsql.Method, query string) string {
			if verb, _, ok := strings.Cut(strings.TrimSpace(query), " "); ok {
				return strings.ToUpper(verb)
			}
			return string(method)
		}),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			DisableErrSkip: true, OmitConnResetSession: true, OmitConnPrepare: true, OmitRows: true, OmitConnectorConnect: true,
			// What runs by itself, again and again, would be traces that tell nothing.
			SpanFilter: func(ctx context.Context, _ otelsql.Method, _ string, _ []driver.NamedValue) bool {
				return trace.SpanFromContext(ctx).IsRecording()
			},
		}),
	}
}
