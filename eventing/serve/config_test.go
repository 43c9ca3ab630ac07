package serve_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

// Store and Limits are parts, as an internal package and a function declare them.
type Store struct {
	URI    string `env:"STORE_URI, required"`
	Secret string `env:"STORE_SECRET, required"`
	Port   int    `env:"STORE_PORT, default=3306"`
}

func (s Store) Validate() error {
	var errs []error
	if len(s.Secret) < 8 {
		errs = append(errs, errors.New("STORE_SECRET has fewer than 8 bytes"))
	}
	if s.Port > 65535 {
		errs = append(errs, errors.New("STORE_PORT is no port"))
	}
	return errors.Join(errs...)
}

type Limits struct {
	Max  int64         `env:"MAX_BYTES, default=100"`
	Wait time.Duration `env:"WAIT, default=1m"`
}

func (l *Limits) Validate() error {
	if l.Max < 1 {
		return errors.New("MAX_BYTES must be at least 1")
	}
	return nil
}

type config struct {
	serve.Config
	Store // its Validate and that of Limits hide each other
	Limits
	Sink string `env:"K_SINK"`
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("p4ss wörd\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := config{
		Config: serve.Config{Port: 8080, Drain: 10 * time.Minute, LogLevel: slog.LevelInfo},
		Store:  Store{URI: "mongodb://x", Secret: "12345678", Port: 3306},
		Limits: Limits{Max: 100, Wait: time.Minute},
	}
	with := func(f func(*config)) config {
		c := whole
		f(&c)
		return c
	}
	for _, tt := range []struct {
		name   string
		env    map[string]string
		want   config
		faults []string // the beginning of each line of the error
	}{
		{name: "required ones", env: map[string]string{"STORE_URI": "mongodb://x", "STORE_SECRET": "12345678"}, want: whole},
		{name: "all", env: map[string]string{"STORE_URI": "mongodb://x", "STORE_SECRET": "12345678", "HOST": "::1",
			"PORT": "0", "DRAIN_TIMEOUT": "5s", "SHUTDOWN_DELAY": "2s", "LOG_LEVEL": "debug", "MAX_BYTES": "7",
			"K_SINK": "http://b"},
			want: with(func(c *config) {
				c.Config = serve.Config{Host: "::1", Drain: 5 * time.Second, ShutdownDelay: 2 * time.Second,
					LogLevel: slog.LevelDebug}
				c.Limits.Max, c.Sink = 7, "http://b"
			})},
		{name: "from a file", env: map[string]string{"STORE_URI": "mongodb://x", "STORE_SECRET_FILE": secret},
			want: with(func(c *config) { c.Store.Secret = "p4ss wörd" })},
		{name: "variable before file", env: map[string]string{"STORE_URI": "mongodb://x", "STORE_SECRET": "12345678",
			"STORE_SECRET_FILE": secret}, want: whole},
		{name: "empty is not set", env: map[string]string{"STORE_URI": "mongodb://x", "STORE_SECRET": "",
			"STORE_SECRET_FILE": secret, "PORT": "", "K_SINK_FILE": ""},
			want: with(func(c *config) { c.Store.Secret = "p4ss wörd" })},
		{name: "nothing", faults: []string{"STORE_URI: is not set", "STORE_SECRET: is not set"}},
		{name: "a file that is not there", env: map[string]string{"STORE_URI": "mongodb://x",
			"STORE_SECRET_FILE": filepath.Join(dir, "none")}, faults: []string{"STORE_SECRET: STORE_SECRET_FILE: open"}},
		{name: "every fault at once", env: map[string]string{"PORT": "eighty", "DRAIN_TIMEOUT": "long", "LOG_LEVEL": "LOUD",
			"STORE_SECRET": "short", "STORE_PORT": "70000", "MAX_BYTES": "-1"},
			faults: []string{`PORT: strconv.ParseInt: parsing "eighty"`, `DRAIN_TIMEOUT: time: invalid duration "long"`,
				"LOG_LEVEL: ", "STORE_URI: is not set", "STORE_SECRET has fewer", "STORE_PORT is no port", "MAX_BYTES must be"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got config
			err := serve.Load(t.Context(), envconfig.MapLookuper(tt.env), &got)
			if tt.faults == nil {
				if err != nil {
					t.Fatalf("Load = %v", err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("Load (-want +got):\n%s", diff)
				}
				return
			}
			if err == nil {
				t.Fatalf("Load = nil, want %q", tt.faults)
			}
			lines := strings.Split(err.Error(), "\n")[1:]
			if len(lines) != len(tt.faults) {
				t.Fatalf("Load = %q, want %d faults", lines, len(tt.faults))
			}
			for i, want := range tt.faults {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("fault %d = %q, want %q", i, lines[i], want)
				}
			}
		})
	}
}

// TestLoadPromoted: a struct with one part has that part's Validate too, and still reports a fault once.
func TestLoadPromoted(t *testing.T) {
	t.Parallel()
	var got struct{ Store }
	env := map[string]string{"STORE_URI": "x", "STORE_SECRET": "short"}
	err := serve.Load(t.Context(), envconfig.MapLookuper(env), &got)
	if want := "configuration:\nSTORE_SECRET has fewer than 8 bytes"; err == nil || err.Error() != want {
		t.Errorf("Load = %v, want %q", err, want)
	}
}
