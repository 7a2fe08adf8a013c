package arch_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is where go.work is, seen from this package.
const root = "../../.."

// modules are the folders of go.work.
var modules = []string{"proto", "services", "services/standalone", "streams", "web"}

// pure lists the packages that use neither network nor clock.
var pure = []string{
	"headwater/proto/cost",
	"headwater/proto/figure",
	"headwater/proto/units",
	"headwater/services/bridge/escape",
	"headwater/services/bridge/topic",
	"headwater/services/decode",
	"headwater/services/decode/intake",
	"headwater/services/decode/mapping",
	"headwater/services/internal/about",
	"headwater/services/internal/calendar",
	"headwater/services/internal/listed",
	"headwater/services/internal/coach",
	"headwater/services/internal/oncall",
	"headwater/services/internal/quota",
	"headwater/services/gateway/pattern",
	"headwater/services/internal/hearing",
	"headwater/services/notifier/escalate",
	"headwater/services/notifier/group",
	"headwater/services/notifier/policy",
	"headwater/services/notifier/chart",
	"headwater/services/notifier/report",
	"headwater/services/notifier/watch",
	"headwater/services/processor/codec",
	"headwater/services/processor/detect",
	"headwater/services/processor/detect/families",
	"headwater/services/processor/detect/nab",
	"headwater/services/processor/window",
	"headwater/services/rule",
	"headwater/services/rule/expression",
	"headwater/services/simulator/warehouse",
	"headwater/services/writer/point",
}

// calm lists the packages that use neither network nor clock themselves, but import
// packages that are not pure.
var calm = []string{
	"headwater/services/dashboard/consumption",
	"headwater/services/dashboard/fleet",
	"headwater/services/dashboard/rulebook",
	"headwater/services/internal/function/contract",
	"headwater/services/internal/handling",
	"headwater/services/internal/silence",
	"headwater/services/processor/machine",
}

// pureLibraries may be used by pure packages besides the standard library: jsontext
// reads JSON token by token, as the standard library's next version does; expr
// parses and evaluates the expressions of rules and mappings; protowire reads the
// fields of a message of Protocol Buffers.
var pureLibraries = []string{
	"github.com/go-json-experiment/json/jsontext",
	"github.com/expr-lang/expr", "github.com/expr-lang/expr/ast", "github.com/expr-lang/expr/conf", "github.com/expr-lang/expr/file",
	"github.com/expr-lang/expr/parser", "github.com/expr-lang/expr/types", "github.com/expr-lang/expr/vm",
	"google.golang.org/protobuf/encoding/protowire",
}

// source is one file of Go.
type source struct {
	name    string // relative to the root
	pkg     string // import path of its folder
	test    bool
	file    *ast.File
	imports []string
}

// sources parses every file of the modules that is not generated.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	for _, module := range modules {
		err := filepath.WalkDir(filepath.Join(root, module), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			relative = filepath.ToSlash(relative)
			if entry.IsDir() && relative != module && (slices.Contains(modules, relative) || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			if entry.IsDir() || path.Ext(name) != ".go" {
				return nil
			}
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			if ast.IsGenerated(file) {
				return nil
			}
			s := source{
				name: relative, pkg: "headwater/" + path.Dir(relative), file: file,
				test: strings.HasSuffix(name, "_test.go"),
			}
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				s.imports = append(s.imports, imported)
			}
			all = append(all, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

// isPure reports whether a package is listed as pure.
func isPure(pkg string) bool { return slices.Contains(pure, pkg) }

// layer names the part of the system that a package of Headwater belongs to:
// a module, or within services cmd, internal or one service.
func layer(pkg string) string {
	parts := strings.Split(strings.TrimPrefix(pkg, "headwater/"), "/")
	if parts[0] != "services" || len(parts) == 1 {
		return parts[0]
	}
	return "services/" + parts[1]
}

// mayImport reports whether a package of one layer may import a package of another.
func mayImport(from, to string) bool {
	switch from {
	case to, "services/standalone", "services/cmd":
		return to != "services/cmd" && (to != "services/standalone" || from == to)
	case "proto":
		return false
	case "streams":
		return to == "proto"
	case "web":
		return to == "proto" || to == "streams"
	case "services/dashboard": // the service that runs the library web
		return to == "proto" || to == "streams" || to == "services/internal" || to == "web"
	default: // internal, or another service
		return to == "proto" || to == "streams" || to == "services/internal"
	}
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			if !strings.HasPrefix(imported, "headwater/") || isPure(imported) && strings.HasPrefix(s.name, "services/") {
				continue
			}
			if from, to := layer(s.pkg), layer(imported); !mayImport(from, to) {
				t.Errorf("%s imports %s: %s must not depend on %s", s.name, imported, from, to)
			}
		}
	}
}

// features are the folders of web that hold one feature each, and the adapter of
// each in services/dashboard is the file of the same name.
var features = []string{"access", "alerts", "annotations", "audit", "boards", "channels", "connect", "consumption", "cost", "deadletters", "device", "devices", "edges", "explore", "functions", "health", "ledger", "oncall", "overview", "pipeline", "registry", "replay", "rules", "silences", "trust"}

// webParts are the folders of web, and which of them each may import. The root of
// web puts all together; internal and browsertest help tests.
var webParts = map[string][]string{
	"static": nil,
	"view":   nil,
	"live":   nil,
	"ui":     {"static", "view"},
	"app":    {"live", "static", "ui", "view"},
}

// webPart names the folder of web that a package belongs to; "" for the root and
// for packages that are not of web.
func webPart(pkg string) string {
	parts := strings.Split(strings.TrimPrefix(pkg, "headwater/"), "/")
	if parts[0] != "web" || len(parts) == 1 {
		return ""
	}
	return parts[1]
}

func TestFeaturesOfTheDashboardKnowNoOther(t *testing.T) {
	found := make(map[string]bool)
	for _, s := range sources(t) {
		if layer(s.pkg) == "web" {
			for _, imported := range s.imports {
				if strings.HasPrefix(imported, "github.com/nats-io/") && !s.test {
					t.Errorf("%s imports %s: the dashboard's pages do not know NATS", s.name, imported)
				}
			}
		}
		part := webPart(s.pkg)
		if part == "" || part == "internal" || part == "browsertest" || s.test {
			continue
		}
		found[part] = true
		may, shared := webParts[part]
		if !shared {
			may = append(slices.Collect(maps.Keys(webParts)), part)
		}
		for _, imported := range s.imports {
			if layer(imported) == "web" && strings.HasPrefix(imported, "headwater/") && !slices.Contains(may, webPart(imported)) {
				t.Errorf("%s imports %s: %s may import %v of web", s.name, imported, part, may)
			}
		}
	}
	for _, feature := range features {
		if _, err := os.Stat(filepath.Join(root, "services/dashboard", feature+".go")); err != nil {
			t.Errorf("feature %s has no adapter: %v", feature, err)
		}
		delete(found, feature)
	}
	if rest := slices.Sorted(maps.Keys(found)); !slices.Equal(rest, slices.Sorted(maps.Keys(webParts))) {
		t.Errorf("beside the features, web has %v; this test knows %v", rest, slices.Sorted(maps.Keys(webParts)))
	}
}

// impure are packages of the standard library with effects outside of a package;
// clock are functions of package time that read the clock or wait.
var (
	impure = []string{
		"context", "crypto/rand", "database/sql", "log", "log/slog", "math/rand", "net", "net/http", "os", "os/exec",
		"os/signal", "runtime", "syscall", "testing",
	}
	clock = []string{"After", "AfterFunc", "Local", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}
)

func TestPurePackagesStayPure(t *testing.T) {
	found := make(map[string]bool)
	for _, s := range sources(t) {
		if s.test || !isPure(s.pkg) && !slices.Contains(calm, s.pkg) {
			continue
		}
		found[s.pkg] = true
		for _, imported := range s.imports {
			first, _, _ := strings.Cut(imported, "/")
			foreign := isPure(s.pkg) && (first == "headwater" || strings.Contains(first, "."))
			if foreign && !isPure(imported) && !slices.Contains(pureLibraries, imported) || slices.Contains(impure, imported) {
				t.Errorf("%s imports %s, but the package is pure", s.name, imported)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := selector.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, selector.Sel.Name) {
					t.Errorf("%s uses time.%s, but in a pure package time is an argument", s.name, selector.Sel.Name)
				}
			}
			return true
		})
	}
	want := slices.Sorted(slices.Values(slices.Concat(pure, calm)))
	if names := slices.Sorted(maps.Keys(found)); !slices.Equal(names, want) {
		t.Errorf("the pure packages are %v, this test knows %v", names, want)
	}
}

// subject matches what looks like a NATS subject of Headwater or of nats-server.
var subject = regexp.MustCompile(`^(telemetry|derived|alerting|deliveries|deadletters|redrive|replay|audit|work)\.|\$(MQTT|JS|KV|O|SYS|SRV)\b`)

// spellers are the packages other than streams that may spell out a subject.
var spellers = []string{
	"headwater/services/bridge/login", // subjects of nats-server, which it keeps from devices
	"headwater/web/internal/fixture",  // shown by pages in tests
}

func TestSubjectsStandInStreamsAlone(t *testing.T) {
	for _, s := range sources(t) {
		if layer(s.pkg) == "streams" || s.test || slices.Contains(spellers, s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && subject.MatchString(text) {
				t.Errorf("%s spells out the subject %q: use a function of streams", s.name, text)
			}
			return true
		})
	}
}

func TestServicesCanShareAProcess(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" || s.pkg == "headwater/services/internal/process" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s has an init function, which affects the whole process", s.name)
				}
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				switch name := x.Name + "." + n.Sel.Name; name {
				case "os.Exit", "signal.Notify", "signal.NotifyContext", "slog.Default", "slog.SetDefault",
					"flag.CommandLine", "prometheus.DefaultRegisterer", "prometheus.MustRegister":
					t.Errorf("%s uses %s, which belongs to the whole process", s.name, name)
				}
			}
			return true
		})
	}
}

func TestMainsAreShort(t *testing.T) {
	mains, err := filepath.Glob(filepath.Join(root, "services/cmd/*/main.go"))
	if err != nil || len(mains) == 0 {
		t.Fatalf("no main was found: %v", err)
	}
	for _, name := range mains {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text, []byte("\n")); lines > 60 {
			t.Errorf("%s has %d lines: a main only reads flags, the rest belongs in a package", name, lines)
		}
	}
}

func TestModulesAskForOneVersionOfGo(t *testing.T) {
	version := regexp.MustCompile(`(?m)^go (\S+)$`)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		found := version.FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s has no version of Go", name)
		}
		return string(found[1])
	}
	want := read("go.work")
	for _, module := range modules {
		if got := read(module + "/go.mod"); got != want {
			t.Errorf("%s requires Go %s, go.work requires %s", module, got, want)
		}
	}
}
