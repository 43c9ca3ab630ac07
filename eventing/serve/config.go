package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// Load fills config (a pointer to a struct with env tags) from the variables that lookup finds, and then calls its Validate
// method if it has one, which reports every fault at once by variable name.
//
// Where a variable X is not set and X_FILE is, X is the content of that file without its last line break, as Kubernetes and
// Docker hand over secrets.
func Load(ctx context.Context, lookup envconfig.Lookuper, config any) error {
	files := &fileLookuper{Lookuper: lookup}
	err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: config, Lookuper: files})
	if err = errors.Join(err, files.err); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if v, ok := config.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	return nil
}

// fileLookuper adds the X_FILE variables.
type fileLookuper struct {
	envconfig.Lookuper
	err error
}

// Lookup finds X, or what is in the file that X_FILE names.
func (l *fileLookuper) Lookup(key string) (string, bool) {
	if v, ok := l.Lookuper.Lookup(key); ok {
		return v, true
	}
	name, ok := l.Lookuper.Lookup(key + "_FILE")
	if !ok || name == "" {
		return "", false
	}
	b, err := os.ReadFile(name)
	if err != nil {
		l.err = errors.Join(l.err, fmt.Errorf("%s_FILE: %w", key, err))
		return "", false
	}
	return strings.TrimRight(string(b), "\r\n"), true
}
