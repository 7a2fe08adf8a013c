package explore

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAddressKeepsTheState reads addresses, and writes them again.
func TestAddressKeepsTheState(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for address, span := range map[string]time.Duration{
		"/explore": 24 * time.Hour,
		"/explore?c=a.b.c~a.d.c.%C2%B0C&c=a.b.e&from=-7d&line=max&compare=1&q=door+4": 7 * 24 * time.Hour,
		"/explore?c=a.b.c&from=2026-03-01T00%3A00%3A00Z&to=2026-03-01T01%3A00%3A00Z":  time.Hour,
	} {
		s, from, to, err := readState(httptest.NewRequest("GET", address, nil), now)
		if err != nil || s.URL() != address || to.Sub(from) != span {
			t.Errorf("%s: %v, read as %s, %v to %v", address, err, s.URL(), from, to)
		}
	}
	s, _, _, _ := readState(httptest.NewRequest("GET", "/explore?c=a.b.c~a.d.c", nil), now)
	if got := s.with(0, "x.y.z").URL(); got != "/explore?c=a.b.c~a.d.c~x.y.z" {
		t.Errorf("with another series: %s", got)
	}
	if got := s.with(1, "x.y.z").without(0, 0).without(0, 0).URL(); got != "/explore?c=x.y.z" {
		t.Errorf("with another chart, without the first: %s", got)
	}
	if s.URL() != "/explore?c=a.b.c~a.d.c" {
		t.Errorf("the state has changed: %s", s.URL())
	}
}

// TestAddressIsBounded reads addresses that are refused.
func TestAddressIsBounded(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"c=a.b", "c=", "c=a.b.c~", "c=a%2Fb.c.d", "c=a.b.c." + strings.Repeat("x", maxUnit+1), "line=median", "compare=2", "from=yesterday",
		strings.Repeat("c=a.b.c&", maxCharts+1), "c=a.b.c" + strings.Repeat("~a.b.c", maxSeries), "q=" + strings.Repeat("x", 81),
	} {
		if _, _, _, err := readState(httptest.NewRequest("GET", "/explore?"+query, nil), time.Now()); err == nil {
			t.Errorf("%.50s is not refused", query)
		}
	}
}
