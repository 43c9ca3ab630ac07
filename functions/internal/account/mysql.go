package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/eventing/telemetry/sqltrace"
)

// Config says where MySQL or MariaDB is.
type Config struct {
	Host     string `env:"MYSQL_HOST"`
	Port     int    `env:"MYSQL_PORT, default=3306"`
	User     string `env:"MYSQL_USER"`
	Password string `env:"MYSQL_PASSWORD"`
	DB       string `env:"MYSQL_DB"`
	// TLS is true, skip-verify, preferred (when the server offers it, unverified) or false. When it is not set it is true,
	// and preferred where the server may be without.
	TLS    string `env:"MYSQL_TLS"`
	Stores serve.StoresConfig
	// Rehash says that plain passwords become hashes, after which the old auth service refuses their owners.
	Rehash bool `env:"LOGIN_REHASH, default=true"`
}

// Validate reports what is missing once there is a host.
func (c *Config) Validate() error {
	if c.Host == "" {
		return nil
	}
	var errs []error
	if c.User == "" {
		errs = append(errs, errors.New("MYSQL_USER is not set"))
	}
	if c.DB == "" {
		errs = append(errs, errors.New("MYSQL_DB is not set"))
	}
	switch c.TLS {
	case "", "true", "skip-verify", "preferred", "false":
	default:
		errs = append(errs, fmt.Errorf("MYSQL_TLS is %q: want true, skip-verify, preferred or false", c.TLS))
	}
	return errors.Join(errs...)
}

func (c *Config) tls() string {
	switch {
	case c.TLS != "":
		return c.TLS
	case c.Stores.WantsTLS(c.Host):
		return "true"
	default:
		return "preferred"
	}
}

// Open makes the pool of connections to the server; it connects when the first is needed.
func Open(c Config) (*sql.DB, error) {
	m := mysql.NewConfig()
	m.Net, m.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	m.User, m.Passwd, m.DBName, m.TLSConfig = c.User, c.Password, c.DB, c.tls()
	m.ParseTime = true
	m.Timeout, m.ReadTimeout, m.WriteTimeout = 5*time.Second, 15*time.Second, 15*time.Second
	m.Logger = slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn)
	m.Params = map[string]string{
		"time_zone": "'+00:00'",
		// An address or a hash that does not fit is an error, and not cut off.
		"sql_mode": "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
	}
	connector, err := mysql.NewConnector(m)
	if err != nil {
		return nil, fmt.Errorf("MySQL at %s: %w", m.Addr, err)
	}
	db := sqltrace.OpenDB("mysql", connector)
	db.SetMaxOpenConns(10)
	db.SetMaxIdleConns(10)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(5 * time.Minute) // below the wait_timeout of proxies; soon at the new server after a failover
	return db, nil
}

// The numbers of the server's errors.
const (
	errDuplicateColumn = 1060
	errDuplicateIndex  = 1061
	errDuplicateEntry  = 1062
	errLockWait        = 1205
	errDeadlock        = 1213
)

// NewMySQL makes a store in MySQL or MariaDB, over a pool that [Open] made. It makes the table, or brings an old one up
// to date. When the server is away, the first use does that instead: a function starts without it. What the server
// refuses is an error.
func NewMySQL(ctx context.Context, db *sql.DB) (*Store, error) {
	s := newStore(db, dialect{
		prepare: prepareMySQL,
		// An old column may have any character set, and compare "Secret" equal to "secret".
		rehash: "UPDATE `user` SET password = ? WHERE id = ? AND " +
			"CAST(CONVERT(password USING utf8mb4) AS BINARY) = CAST(? AS BINARY)",
		isDuplicate: func(err error) bool { return isMySQL(err, errDuplicateEntry) },
		now:         "UNIX_TIMESTAMP()",
		// The update is one, so that the row is locked.
		insertAttempt: "INSERT INTO attempt (id, until) VALUES (?, 0) ON DUPLICATE KEY UPDATE until = until",
		isConflict:    func(err error) bool { return isMySQL(err, errDeadlock) || isMySQL(err, errLockWait) },
	})
	_, err := s.table(ctx)
	if refused := (*mysql.MySQLError)(nil); errors.As(err, &refused) {
		return nil, err
	}
	if err != nil {
		slog.WarnContext(ctx, "users cannot be reached yet", "error", err)
	}
	return s, nil
}

func isMySQL(err error, number uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == number
}

// added are the columns that the old table lacks. Each has a default, so that the old service can go on inserting.
var added = []struct{ name, definition string }{
	{"admin", "BOOLEAN NOT NULL DEFAULT FALSE"},
	{"disabled", "BOOLEAN NOT NULL DEFAULT FALSE"},
	{"created", "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"},
	{"uid", "VARCHAR(32) NULL"},
	{"owner", "VARCHAR(255) NULL"},
	{"user_group", "VARCHAR(32) NOT NULL DEFAULT ''"},
}

// tables are those beside the old one, by name. Times are Unix seconds.
var tables = []struct{ name, columns string }{
	{"tokens_after", "uid VARCHAR(32) NOT NULL PRIMARY KEY, since BIGINT NOT NULL"},
	{"api_key", "id VARCHAR(32) NOT NULL PRIMARY KEY, uid VARCHAR(32) NOT NULL, name VARCHAR(100) NOT NULL, " +
		"hash CHAR(64) NOT NULL UNIQUE, scope VARCHAR(64) NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, " +
		"used BIGINT NOT NULL"},
	{"attempt", "id CHAR(64) NOT NULL PRIMARY KEY, until BIGINT NOT NULL"}, // Unix milliseconds, as in the next one
	{"known_network", "id CHAR(64) NOT NULL PRIMARY KEY, until BIGINT NOT NULL"},
	{"password_link", "id CHAR(64) NOT NULL PRIMARY KEY, email VARCHAR(255) NOT NULL, ends BIGINT NOT NULL"},
	{"handshake", "id CHAR(64) NOT NULL PRIMARY KEY, nonce VARCHAR(64) NOT NULL, verifier VARCHAR(128) NOT NULL, " +
		"ends BIGINT NOT NULL"},
	{"identity", "id CHAR(64) NOT NULL PRIMARY KEY, uid VARCHAR(32) NOT NULL, issuer VARCHAR(255) NOT NULL, " +
		"UNIQUE (uid, issuer)"},
	{"deleted_user", "uid VARCHAR(32) NOT NULL PRIMARY KEY, owner VARCHAR(255) NOT NULL, since BIGINT NOT NULL, " +
		"swept BOOLEAN NOT NULL"},
}

// prepareMySQL makes the table or changes the old one. Other replicas may be doing the same, so what is there already
// is no error. It changes only what it must: with a table that is right it needs no right to ALTER.
func prepareMySQL(ctx context.Context, db *sql.DB) error {
	width, err := widths(ctx, db)
	if err != nil {
		return err
	}
	if len(width) == 0 {
		_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS `user` ("+
			"id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, "+
			"email VARCHAR(255) NOT NULL UNIQUE, "+
			"password VARCHAR(255) NOT NULL"+
			") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci")
		if err != nil {
			return err
		}
		width["password"] = 255
	}
	for _, c := range added {
		if _, ok := width[c.name]; ok {
			continue
		}
		if err := alter(ctx, db, "ADD COLUMN "+c.name+" "+c.definition, errDuplicateColumn); err != nil {
			return err
		}
	}
	if width["password"] < len(decoyOf(params)) {
		if err := alter(ctx, db, "MODIFY password VARCHAR(255) NOT NULL", 0); err != nil {
			return err
		}
	}
	for _, column := range []string{"email", "uid"} {
		unique, err := isUnique(ctx, db, column)
		if err != nil {
			return err
		}
		if !unique {
			if err := alter(ctx, db, "ADD UNIQUE INDEX unique_"+column+" ("+column+")", errDuplicateIndex); err != nil {
				return err
			}
		}
	}
	return addTables(ctx, db)
}

// addTables makes the tables that are not there.
func addTables(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	if err != nil {
		return err
	}
	defer rows.Close()
	there := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		there[name] = true
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, t := range tables {
		if there[t.name] {
			continue
		}
		_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+t.name+" ("+t.columns+
			") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin")
		if err != nil {
			return fmt.Errorf("CREATE TABLE %s: %w", t.name, err)
		}
	}
	return nil
}

// alter changes the table. The error with the given number is none.
func alter(ctx context.Context, db *sql.DB, change string, unless uint16) error {
	_, err := db.ExecContext(ctx, "ALTER TABLE `user` "+change)
	if err != nil && !isMySQL(err, unless) {
		return fmt.Errorf("ALTER TABLE `user` %s: %w", change, err)
	}
	return nil
}

// widths gives the columns of the table and their lengths in characters: 0 for a column that has none.
func widths(ctx context.Context, db *sql.DB) (map[string]int, error) {
	rows, err := db.QueryContext(ctx,
		"SELECT LOWER(column_name), COALESCE(character_maximum_length, 0) FROM information_schema.columns "+
			"WHERE table_schema = DATABASE() AND table_name = 'user'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	width := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		width[name] = n
	}
	return width, rows.Err()
}

func isUnique(ctx context.Context, db *sql.DB, column string) (bool, error) {
	var n int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT index_name FROM information_schema.statistics "+
		"WHERE table_schema = DATABASE() AND table_name = 'user' GROUP BY index_name "+
		"HAVING COUNT(*) = 1 AND MAX(non_unique) = 0 AND MAX(LOWER(column_name)) = ?) AS found", column).Scan(&n)
	return n > 0, err
}
