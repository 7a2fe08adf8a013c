package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/annotations"
	"headwater/web/view"
)

// TestAnnotations writes about a moment and a period through the API. Every dashboard has them
// on the charts of the device or of the whole site, and in the list; the audit has them, and
// what does not fit is refused.
func TestAnnotations(t *testing.T) {
	r := newRig(t, nil)
	one := r.service
	r.begin(t) // beside the first, on the same streams
	two := r.service
	now := time.Now()
	for _, device := range []string{"door-1", "door-2"} {
		r.reading(device, "temperature", 20.25, now)
	}
	for _, s := range []*Service{one, two} {
		streamtest.Eventually(t, "the devices are known", func() bool {
			_, a := s.fleet.Device("home", "door-1", now)
			_, b := s.fleet.Device("home", "door-2", now)
			return a && b
		})
	}
	write := func(body string, want int) (a view.Annotation) {
		t.Helper()
		code, answer := r.send(http.MethodPost, "/api/v1/annotations?by=Ann", "application/json", body)
		if code != want {
			t.Fatalf("%s: %d, want %d: %s", body, code, want, answer)
		}
		if want == http.StatusCreated {
			if err := json.Unmarshal([]byte(answer), &a); err != nil {
				t.Fatal(err)
			}
		}
		return a
	}
	moment := write(`{"site": "home", "device": "door-1", "from": "-10m", "text": "The gasket was replaced."}`, http.StatusCreated)
	period := write(`{"site": "home", "from": "-3h", "to": "-2h", "text": "No power."}`, http.StatusCreated)
	for body, want := range map[string]int{
		`{"site": "home", "device": "door-3", "text": "x"}`:             http.StatusNotFound,
		`{"site": "away", "text": "x"}`:                                 http.StatusNotFound,
		`{"site": "home", "text": " "}`:                                 http.StatusBadRequest,
		`{"site": "home", "text": "` + strings.Repeat("x", 501) + `"}`:  http.StatusBadRequest,
		`{"site": "home", "text": "x", "from": "-1h", "to": "-2h"}`:     http.StatusBadRequest,
		`{"site": "home", "text": "x", "from": "yesterday"}`:            http.StatusBadRequest,
		`{"site": "home", "text": "x", "author": "somebody else"}`:      http.StatusBadRequest,
		`{"site": "home", "text": "x", "from": "1969-12-31T00:00:00Z"}`: http.StatusBadRequest,
		`{"site": "home", "text": "` + strings.Repeat("x", 5000) + `"}`: http.StatusBadRequest,
	} {
		write(body, want)
	}
	streamtest.Eventually(t, "the other dashboard has both", func() bool {
		all, _ := one.annotations.Annotations(annotations.Query{Most: 10})
		return len(all) == 2
	})
	for _, s := range []*Service{one, two} {
		all, _ := s.annotations.Annotations(annotations.Query{Most: 10})
		if len(all) != 2 || all[0] != moment || all[1] != period || moment.Author != "Ann" {
			t.Errorf("the list has %+v", all)
		}
		for device, want := range map[string]int{"door-1": 2, "door-2": 1} {
			if got := s.annotations.AnnotationsOf("home", device, now.Add(-24*time.Hour), now.Add(time.Hour)); len(got) != want {
				t.Errorf("the charts of %s have %+v", device, got)
			}
		}
		if got := s.annotations.AnnotationsOf("home", "door-1", now.Add(-150*time.Minute), now.Add(-time.Hour)); len(got) != 1 || got[0] != period {
			t.Errorf("in a part of the period there is %+v", got)
		}
	}
	if code, body := r.get("/api/v1/series?site=home&device=door-1&metric=temperature&from=-24h"); code != http.StatusOK || !strings.Contains(body, "gasket") || !strings.Contains(body, "No power") {
		t.Errorf("the series: %d %.300s", code, body)
	}
	for _, q := range []annotations.Query{{Text: "GASKET", Most: 10}, {Text: "door-1", Most: 10}, {Site: "home", Most: 1}, {Skip: 1, Most: 10}, {Sites: []string{"away", "home"}, To: now.Add(-time.Hour), Most: 10}} {
		if all, more := two.annotations.Annotations(q); len(all) != 1 || more != (q.Most == 1) {
			t.Errorf("%+v finds %+v, more %t", q, all, more)
		}
	}
	r.shows("/annotations", "The gasket was replaced.")

	if code, body := r.post("/annotations", url.Values{"site": {"home"}, "from": {"soon"}, "text": {"x"}}); code != http.StatusBadRequest || !strings.Contains(body, "From must be a time of RFC 3339") {
		t.Errorf("a form that does not fit: %d %.300s", code, body)
	}
	if code, _ := r.post("/annotations/"+moment.ID+"/delete", nil); code != http.StatusSeeOther {
		t.Errorf("removed by a form: %d", code)
	}
	if code, _ := r.ask(http.MethodDelete, "/api/v1/annotations/"+period.ID); code != http.StatusNoContent {
		t.Errorf("removed: %d", code)
	}
	if code, _ := r.ask(http.MethodDelete, "/api/v1/annotations/"+period.ID); code != http.StatusNotFound {
		t.Errorf("removed twice: %d", code)
	}
	for _, s := range []*Service{one, two} {
		streamtest.Eventually(t, "nothing is left", func() bool {
			all, _ := s.annotations.Annotations(annotations.Query{Most: 10})
			return len(all) == 0
		})
	}
	found, err := audit.Read(t.Context(), r.js, audit.Query{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	var done []string
	for _, e := range found.Entries {
		text, _, _ := strings.Cut(e.After+e.Before, "\n")
		done = append(done, string(e.Action)+" "+e.Object+text[strings.LastIndex(text, ":"):])
	}
	want := "annotation.remove home: No power., annotation.remove home/door-1: The gasket was replaced., annotation.add home: No power., annotation.add home/door-1: The gasket was replaced."
	if got := strings.Join(done, ", "); got != want {
		t.Errorf("the audit has %s", got)
	}
}

// counted is a piece of a shelf.
type counted struct {
	N int `json:"n"`
}

func (c counted) Placed(string, uint64) counted { return c }

func (c counted) Validate() error {
	if c.N < 0 {
		return errors.New("n is negative")
	}
	return nil
}

// TestAShelfIsBounded adds more pieces than there may be, and what does not fit.
func TestAShelfIsBounded(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 1)
	s := &shelf[counted]{
		js: server.JS(t), bucket: streams.BucketBoards, key: streams.BoardKey, parse: streams.ParseBoardKey,
		most: 2, largest: 10, what: "piece",
	}
	for i, c := range []struct {
		n   int
		err error
	}{{1, nil}, {-1, view.ErrDraft}, {1_000_000_000, view.ErrDraft}, {2, nil}, {3, view.ErrDraft}} {
		if _, err := s.create(t.Context(), counted{c.n}); !errors.Is(err, c.err) {
			t.Errorf("%d: piece %d: %v", i, c.n, err)
		}
	}
	if len(s.list()) != 2 {
		t.Errorf("the shelf has %v", s.list())
	}
	// What a watch delivers late changes nothing.
	s.put("a", counted{7}, 1_000)
	s.put("a", counted{6}, 999)
	if got, _ := s.get("a"); got.N != 7 {
		t.Errorf("it went back to %d", got.N)
	}
	s.drop("a", 999)
	if _, ok := s.get("a"); !ok {
		t.Error("an older removal removed it")
	}
	s.drop("a", 1_001)
	s.put("a", counted{7}, 1_000)
	if _, ok := s.get("a"); ok {
		t.Error("an older entry brought it back")
	}
}
