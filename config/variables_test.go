package config_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/soundstrip/soundstrip"

// A variable that nothing reads is a misspelt one, and a required one that is not given keeps a process from starting.
func TestVariablesAreThoseThatTheProgramReads(t *testing.T) {
	t.Parallel()
	objects := load(t)
	for _, p := range objects.pods() {
		for _, c := range p.spec.Containers {
			program, ok := strings.CutPrefix(c.Image, "ko://")
			if !ok {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				known := readBy(t, program)
				given := objects.variables(t, c)
				for name := range given {
					if _, ok := known[strings.TrimSuffix(name, "_FILE")]; !ok {
						t.Errorf("%s is given, but %s reads only %q", name, program, slices.Sorted(maps.Keys(known)))
					}
				}
				for name, required := range known {
					if _, ok := given[name]; required && !ok {
						t.Errorf("%s is not given, and %s requires it", name, program)
					}
				}
			})
		}
	}
}

// readBy gives the variables that a program reads, and whether they are required: those in the env tags of the structs
// in its main package, and of the structs of ours that these are made of.
func readBy(t *testing.T, program string) map[string]bool {
	t.Helper()
	known, seen := map[string]bool{}, map[string]bool{}
	var read func(folder, name string) // every struct when the name is empty
	read = func(folder, name string) {
		if seen[folder+"."+name] {
			return
		}
		seen[folder+"."+name] = true
		files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("Glob(%s/*.go) = %v, %v, want files", folder, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(source, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					return name == "" // main may keep its struct in run
				case *ast.TypeSpec:
					return name == "" || n.Name.Name == name
				}
				s, ok := n.(*ast.StructType)
				if !ok {
					return true
				}
				for _, field := range s.Fields.List {
					if variable, required := envTag(field); variable != "" {
						known[variable] = known[variable] || required
					}
					switch of := field.Type.(type) {
					case *ast.Ident:
						if ast.IsExported(of.Name) {
							read(folder, of.Name)
						}
					case *ast.SelectorExpr:
						if imported, ok := folderOf(source, of.X); ok {
							read(imported, of.Sel.Name)
						}
					}
				}
				return true
			})
		}
	}
	read(strings.TrimPrefix(program, module+"/"), "")
	return known
}

func envTag(field *ast.Field) (name string, required bool) {
	if field.Tag == nil {
		return "", false
	}
	tag, err := strconv.Unquote(field.Tag.Value)
	if err != nil {
		return "", false
	}
	name, options, _ := strings.Cut(reflect.StructTag(tag).Get("env"), ",")
	return name, strings.TrimSpace(options) == "required"
}

// folderOf gives the folder of a package of ours by the name that the file knows it by.
func folderOf(file *ast.File, qualifier ast.Expr) (string, bool) {
	for _, i := range file.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		if folder, ok := strings.CutPrefix(imported, module+"/"); ok && qualifier.(*ast.Ident).Name == path.Base(imported) {
			return folder, true
		}
	}
	return "", false
}
