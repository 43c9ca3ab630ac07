package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"github.com/sethvargo/go-envconfig"
)

// Load fills config (a pointer to a struct with env tags) from the variables that lookup finds. Its error names every
// variable that is missing or wrong, a line each.
//
// A struct may be made of others, embedded or as fields without a tag. A struct may have a method Validate, which Load
// calls when the struct's fields are read: it reports what a tag cannot say, as an error that begins with the
// variable's name, or errors.Join of several. Load calls it for the inner structs as well, so that no Validate has to
// call another. Of several faults of one variable Load reports the first.
//
// An empty variable is taken as not set. Where a variable X is not set and X_FILE is, X is the content of that file
// without its last line break, as Kubernetes and Docker hand over secrets.
func Load(ctx context.Context, lookup envconfig.Lookuper, config any) error {
	l := loader{lookup: lookup, known: map[string]bool{}}
	l.load(ctx, reflect.ValueOf(config).Elem())
	if len(l.faults) > 0 {
		return fmt.Errorf("configuration:\n%w", errors.Join(l.faults...))
	}
	return nil
}

// loader reads a struct field by field, since envconfig stops at the first fault.
type loader struct {
	lookup envconfig.Lookuper
	file   error // why the file of the last variable cannot be read
	faults []error
	known  map[string]bool // the variables that have a fault
}

func (l *loader) load(ctx context.Context, config reflect.Value) {
	for i := range config.NumField() {
		field := config.Type().Field(i)
		tag, tagged := field.Tag.Lookup("env")
		switch {
		case tagged:
			name, _, _ := strings.Cut(tag, ",")
			if err := l.read(ctx, field, config.Field(i)); err != nil {
				l.report(fmt.Errorf("%s: %w", name, err))
			}
		case field.IsExported() && field.Type.Kind() == reflect.Struct:
			l.load(ctx, config.Field(i))
		}
	}
	if v, ok := config.Addr().Interface().(interface{ Validate() error }); ok {
		l.report(v.Validate())
	}
}

// read reads one variable, as the only field of a struct of its own.
func (l *loader) read(ctx context.Context, field reflect.StructField, to reflect.Value) error {
	one := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	one.Elem().Field(0).Set(to)
	l.file = nil
	err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: one.Interface(), Lookuper: l})
	switch {
	case l.file != nil:
		return l.file
	case errors.Is(err, envconfig.ErrMissingRequired):
		return errors.New("is not set")
	case err != nil:
		return cmp.Or(errors.Unwrap(err), err) // without the name of the Go field
	}
	to.Set(one.Elem().Field(0))
	return nil
}

// Lookup finds X, or what is in the file that X_FILE names.
func (l *loader) Lookup(key string) (string, bool) {
	if v, _ := l.lookup.Lookup(key); v != "" {
		return v, true
	}
	name, _ := l.lookup.Lookup(key + "_FILE")
	if name == "" {
		return "", false
	}
	b, err := os.ReadFile(name)
	if err != nil {
		l.file = fmt.Errorf("%s_FILE: %w", key, err)
		return "", false
	}
	return strings.TrimRight(string(b), "\r\n"), true
}

var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Z0-9_]*`) })

func (l *loader) report(err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok { // what errors.Join made, not what wraps it
		for _, err := range many.Unwrap() {
			l.report(err)
		}
		return
	}
	if err == nil {
		return
	}
	name := variable().FindString(err.Error())
	if name == "" {
		name = err.Error()
	}
	if !l.known[name] {
		l.known[name] = true
		l.faults = append(l.faults, err)
	}
}
