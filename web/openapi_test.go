package web

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"headwater/web/app"
	"headwater/web/view"
)

type described struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Service     string `json:"x-service"`
		Parameters  []struct {
			Name, In string
			Required bool
			Example  string
		}
		Responses map[string]any
	}
	Components struct{ Schemas map[string]any }
}

func describe(t *testing.T) described {
	t.Helper()
	var d described
	if err := json.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// lone is a source with any device, to ask every path for something.
type lone struct{ *fakeSource }

func (lone) Device(site, device string) (view.Device, bool) {
	return view.Device{Site: site, Device: device, Metrics: []view.Metric{{Name: "m", Kind: view.KindFlag}}}, true
}

// TestDescription holds the description against the routes: each described path
// answers, each route of the API is described.
func TestDescription(t *testing.T) {
	d := describe(t)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %q", d.OpenAPI)
	}
	shell := app.New(app.Config{}, newSource(), slog.New(slog.DiscardHandler))
	var routed []string
	for _, r := range routes(Config{}, shell, newSource().sources()) {
		if r.Method != "" && strings.HasPrefix(r.Path, "/api/") {
			routed = append(routed, strings.ToLower(r.Method)+" "+r.Path)
		}
	}
	var written []string
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.OperationID == "" || len(op.Responses) == 0 {
				t.Errorf("%s %s has no operationId or no responses", method, path)
			}
			if op.Service == "" { // else another service answers it
				written = append(written, method+" "+path)
			}
		}
	}
	slices.Sort(routed)
	slices.Sort(written)
	if !slices.Equal(routed, written) {
		t.Errorf("routes %v, described %v", routed, written)
	}
	if _, ok := d.Paths["/api/v1/telemetry"]["post"]; !ok {
		t.Error("how to send readings is not described")
	}
}

// TestDescribedPathsAnswer asks each described path with its required
// parameters.
func TestDescribedPathsAnswer(t *testing.T) {
	source := newSource()
	sources := source.sources()
	sources.Device = lone{source}
	s, err := New(Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for path, methods := range describe(t).Paths {
		op, ok := methods["get"]
		if !ok {
			continue
		}
		query := "?"
		for _, p := range op.Parameters {
			if p.In == "path" {
				value := "m"
				if p.Name == "sequence" {
					value = "1"
				}
				path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
			} else if p.Required {
				query += p.Name + "=" + cmp.Or(p.Example, "m") + "&"
			}
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+query, nil))
		table := strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv")
		if w.Code != http.StatusOK || !table && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s%s: %d %.200s", path, query, w.Code, w.Body)
		}
	}
}

// TestDescriptionRefersToWhatIsThere finds references that lead nowhere.
func TestDescriptionRefersToWhatIsThere(t *testing.T) {
	schemas := describe(t).Components.Schemas
	for rest := string(description); ; {
		_, after, ok := strings.Cut(rest, `"#/components/schemas/`)
		if !ok {
			return
		}
		name, next, _ := strings.Cut(after, `"`)
		if _, ok := schemas[name]; !ok {
			t.Errorf("there is no schema %s", name)
		}
		rest = next
	}
}
