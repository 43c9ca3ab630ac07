package config_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// A README that names what is not there is worse than none.
func TestReadmesNameWhatIsThere(t *testing.T) {
	t.Parallel()
	r := readRepository(t)
	for _, name := range r.readmes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := fs.ReadFile(r.root, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range r.faults(name, string(text)) {
				t.Error(fault)
			}
		})
	}
}

func TestReadmeFaults(t *testing.T) {
	t.Parallel()
	r := readRepository(t)
	for _, tt := range []struct{ name, text string }{
		{"path", "`functions/uplaod` is not there"},
		{"path in a block", "\n    go test ./functions/uplaod\n"},
		{"path beside the README", "`stores/oracle.yaml`"},
		{"file", "`999-none.yaml`"},
		{"link", "[the broker](../eventing/brokre)"},
		{"anchor", "[the broker](../eventing/README.md#the-brokre)"},
		{"target", "`make tset`"},
		{"second target", "\n    export KO_DOCKER_REPO=…\n    make images delpoy   # all\n"},
		{"variable", "`CONVERT_TIMEUOT`"},
		{"variable without an underscore", "`PROT`"},
		{"variable of make", "\n    make deploy STORSE=\n"},
		{"variable of a command", "\n    $ PROT=1 make run\n"},
		{"method", "`PUT /jobs/{id}`"},
		{"route", "`GET /jobs/{id}/mp4`"},
		{"route of curl", "\n    curl $S/uplaod\n"},
		{"route on a laptop", "see http://127.0.0.1:8080/mailbocks."},
		{"test", "`go test ./functions/upload -run TestUplaod`"},
		{"long line", strings.Repeat("word ", 25)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if faults := r.faults("config/README.md", tt.text); len(faults) != 1 {
				t.Errorf("faults(%q) = %q, want one", tt.text, faults)
			}
		})
	}
}

// repository is what the READMEs may name.
type repository struct {
	root      fs.FS
	readmes   []string        // paths
	targets   map[string]bool // of make
	variables map[string]bool // that a program, a script or the Makefile reads or sets
	tests     []string        // names of tests and benchmarks
	routes    *http.ServeMux  // the patterns of all programs
}

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
	variable   = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b[A-Z][A-Z0-9]*\b`)
	testName   = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	route      = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE) /`)
)

// readRepository reads the tree. Git's folder and what runs leave behind are not of it.
func readRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{
		root: os.DirFS(".."), targets: map[string]bool{}, variables: map[string]bool{}, routes: http.NewServeMux(),
	}
	patterns := map[string]bool{}
	err := fs.WalkDir(r.root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".soundstrip", "bin"}, name) {
				return fs.SkipDir
			}
			return nil
		}
		read := func() string {
			text, err := fs.ReadFile(r.root, name)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		script := path.Ext(name) == "" && (strings.HasPrefix(name, ".ci/") || strings.HasPrefix(name, "config/"))
		switch {
		case path.Base(name) == "README.md":
			r.readmes = append(r.readmes, name)
		case strings.HasSuffix(name, "_test.go"):
			text := read()
			for _, m := range testName.FindAllStringSubmatch(text, -1) {
				r.tests = append(r.tests, m[1])
			}
			r.readGo(t, name, text, nil)
		case path.Ext(name) == ".go":
			r.readGo(t, name, read(), patterns)
		case name == "Makefile":
			for _, m := range makeTarget.FindAllStringSubmatch(read(), -1) {
				r.targets[m[1]] = true
			}
			r.addVariables(read())
		case path.Ext(name) == ".yaml", script:
			r.addVariables(read())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pattern := range patterns {
		r.routes.Handle(pattern, http.NotFoundHandler())
	}
	if len(r.readmes) < 2 || len(r.targets) == 0 || len(r.tests) == 0 || len(patterns) == 0 {
		t.Fatalf("the tree has %d READMEs, %d targets, %d tests and %d routes",
			len(r.readmes), len(r.targets), len(r.tests), len(patterns))
	}
	return r
}

func (r *repository) addVariables(text string) {
	for _, name := range variable.FindAllString(text, -1) {
		r.variables[name] = true
	}
}

// readGo adds the variables that a file reads, and its routes to patterns unless that is nil. A pattern is a string
// such as "GET /jobs"; a loop over paths may put its method before them ("POST "+path).
func (r *repository) readGo(t *testing.T, name, text string, patterns map[string]bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if name, _ := envTag(n); name != "" {
				r.variables[name], r.variables[name+"_FILE"] = true, true
			}
		case *ast.BasicLit:
			s := unquote(n)
			if variable.FindString(s) == s && s != "" {
				r.variables[s] = true // of os.Getenv and the like
			}
			if patterns != nil && route.MatchString(s) && !strings.Contains(s, "\n") {
				patterns[s] = true
			}
		case *ast.RangeStmt:
			paths, ok := n.X.(*ast.CompositeLit)
			if !ok || patterns == nil {
				return true
			}
			ast.Inspect(n.Body, func(n ast.Node) bool {
				sum, ok := n.(*ast.BinaryExpr)
				if !ok || sum.Op != token.ADD {
					return true
				}
				method := unquote(sum.X)
				for _, p := range paths.Elts {
					if pattern := method + unquote(p); route.MatchString(pattern) {
						patterns[pattern] = true
					}
				}
				return true
			})
		}
		return true
	})
}

// unquote gives the value of a literal string, and nothing of anything else.
func unquote(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// maxColumns bounds the lines of a README, but for its tables. maxLines bounds the README at the root, which is for a
// newcomer.
const maxColumns, maxLines = 120, 150

var (
	codeSpan    = regexp.MustCompile("`([^`]+)`")
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	call        = regexp.MustCompile(`\b(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^\s?]*)`)
	address     = regexp.MustCompile(`(?:\$S|\$URL|http://(?:127\.0\.0\.1|localhost):\d+)(/[^\s"'?]*)`)
	ofTests     = regexp.MustCompile(`-(?:run|bench) '?([^\s']+)`)
	assignment  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*=`)
	capitals    = regexp.MustCompile(`^[A-Z][A-Z0-9]*$`)
	named       = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)
	file        = regexp.MustCompile(`^[\w.-]+\.(?:go|md|yaml|patch)$`)
)

// elsewhere is what a README names that the tree does not have: Go's variable, and what make release writes.
var elsewhere = []string{"GOMAXPROCS", "release.yaml", "triggers.yaml"}

// faults gives what a README names and is not there, and its long lines. Names count where they are code; links and
// addresses of a laptop's server count everywhere.
func (r *repository) faults(readme, text string) (faults []string) {
	folder := path.Dir(readme)
	missing := func(what, name string) {
		if !slices.Contains(elsewhere, name) {
			faults = append(faults, what+" "+name+" is not there")
		}
	}
	code, prose := split(text)
	for _, m := range link.FindAllStringSubmatch(prose, -1) {
		if to, anchor, _ := strings.Cut(m[1], "#"); !strings.Contains(to, "://") && !r.hasLink(readme, to, anchor) {
			missing("link", m[1])
		}
	}
	for _, m := range address.FindAllStringSubmatch(text, -1) {
		p := strings.TrimRight(m[1], ".,;:`")
		answered := func(method string) bool { return r.answers(method, p) }
		if !slices.ContainsFunc([]string{"GET", "HEAD", "POST", "PUT", "DELETE"}, answered) {
			missing("route", p)
		}
	}
	for _, line := range code {
		for _, m := range call.FindAllStringSubmatch(line, -1) {
			if !r.answers(m[1], m[2]) {
				missing("route", m[0])
			}
		}
		for _, m := range ofTests.FindAllStringSubmatch(line, -1) {
			wanted, err := regexp.Compile(m[1])
			if err != nil || m[1] != "^$" && !slices.ContainsFunc(r.tests, wanted.MatchString) {
				missing("test", m[1])
			}
		}
		for _, name := range append(named.FindAllString(line, -1), assigned(line)...) {
			if !r.variables[name] && !strings.Contains(text, "$"+name) {
				missing("variable", name)
			}
		}
		if capitals.MatchString(line) && !r.variables[line] {
			missing("variable", line)
		}
		for _, name := range targets(line) {
			if !r.targets[name] {
				missing("make target", name)
			}
		}
		for word := range strings.FieldsFuncSeq(line, betweenWords) {
			if !r.hasPath(folder, word) {
				missing("path", word)
			}
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if utf8.RuneCountInString(line) > maxColumns && !strings.HasPrefix(line, "|") {
			faults = append(faults, "line "+strconv.Itoa(i+1)+" is longer than "+strconv.Itoa(maxColumns)+" columns")
		}
	}
	if readme == "README.md" && strings.Count(text, "\n") > maxLines {
		faults = append(faults, "it has more than "+strconv.Itoa(maxLines)+" lines")
	}
	return faults
}

func betweenWords(c rune) bool { return strings.ContainsRune(" \t'\"()=@,;|", c) }

// split gives the code of a README, by the line of a block or the span, and the rest.
func split(text string) (code []string, prose string) {
	fenced := false
	var rest strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		} else if fenced || strings.HasPrefix(line, "    ") {
			command, _, _ := strings.Cut(strings.TrimSpace(line), " #")
			code = append(code, command)
		} else {
			rest.WriteString(line)
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(rest.String(), -1) {
		code = append(code, strings.Join(strings.Fields(m[1]), " "))
	}
	return code, rest.String()
}

// assigned gives the variables that a command is given: those before it, and those among make's arguments.
func assigned(line string) (names []string) {
	words := strings.Fields(strings.TrimPrefix(line, "$ "))
	for i, word := range words {
		if assignment.MatchString(word) && (i < len(words)-1 || slices.Contains(words, "make")) {
			name, _, _ := strings.Cut(word, "=")
			if !strings.Contains(name, "_") {
				names = append(names, name)
			}
		} else if !slices.Contains(words, "make") {
			return names
		}
	}
	return names
}

// targets gives those of a command that runs make.
func targets(line string) (names []string) {
	words := strings.Fields(strings.TrimPrefix(line, "$ "))
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 || words[0] != "make" {
		return nil
	}
	for _, word := range words[1:] {
		if !assignment.MatchString(word) {
			names = append(names, word)
		}
	}
	return names
}

func (r *repository) answers(method, p string) bool {
	_, pattern := r.routes.Handler(&http.Request{Method: method, URL: &url.URL{Path: p}})
	return pattern != ""
}

// hasLink follows a link from a README, to a heading when there is an anchor.
func (r *repository) hasLink(readme, to, anchor string) bool {
	target := readme
	if to != "" {
		target = path.Join(path.Dir(readme), to)
	}
	if _, err := fs.Stat(r.root, target); err != nil || anchor == "" {
		return err == nil
	}
	text, err := fs.ReadFile(r.root, target)
	return err == nil && slices.ContainsFunc(heading.FindAllStringSubmatch(string(text), -1), func(m []string) bool {
		return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-") == anchor
	})
}

// hasPath tells whether a word is no path of the tree's, or one that is there: from the root or from the README's
// folder.
func (r *repository) hasPath(folder, word string) bool {
	if strings.Contains(word, "://") || strings.Contains(word, "…") {
		return true
	}
	word = strings.TrimSuffix(strings.TrimRight(strings.TrimPrefix(word, "./"), ".:"), "/")
	first, _, deep := strings.Cut(word, "/")
	if !fs.ValidPath(word) || !deep && !file.MatchString(word) {
		return true
	}
	var of bool
	for _, from := range []string{".", folder} {
		if _, err := fs.Stat(r.root, path.Join(from, word)); err == nil {
			return true
		}
		info, err := fs.Stat(r.root, path.Join(from, first))
		of = of || err == nil && info.IsDir()
	}
	return deep && !of
}
