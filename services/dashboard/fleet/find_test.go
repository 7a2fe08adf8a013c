package fleet

import (
	"strings"
	"testing"
	"time"

	"headwater/web/explore"
	"headwater/web/view"
)

// TestFind finds series by words of site, device and metric.
func TestFind(t *testing.T) {
	t.Parallel()
	f := New("")
	now := time.Unix(1_800_000_000, 0)
	for _, dev := range []string{"door-1", "door-2"} {
		for _, site := range []string{"hall", "attic"} {
			f.Know(site, dev, now, []Series{
				{Metric: "temperature", Kind: view.KindNumber}, {Metric: "humidity", Kind: view.KindNumber}, {Metric: "mode", Kind: view.KindText},
			})
		}
	}
	for _, c := range []struct {
		name string
		q    explore.Query
		want string
		more bool
	}{
		{"all, but no texts", explore.Query{Most: 9}, "attic/door-1 humidity, attic/door-1 temperature, attic/door-2 humidity, attic/door-2 temperature, hall/door-1 humidity, hall/door-1 temperature, hall/door-2 humidity, hall/door-2 temperature", false},
		{"no more than asked for", explore.Query{Most: 2}, "attic/door-1 humidity, attic/door-1 temperature", true},
		{"every word counts, in any case", explore.Query{Text: "TEMP  hall -2", Most: 9}, "hall/door-2 temperature", false},
		{"a word of two parts", explore.Query{Text: "hall/door-1 hum", Most: 9}, "hall/door-1 humidity", false},
		{"of the sites", explore.Query{Text: "door-1", Sites: []string{"hall"}, Most: 9}, "hall/door-1 humidity, hall/door-1 temperature", false},
		{"nothing", explore.Query{Text: "cellar", Most: 9}, "", false},
	} {
		found, more := f.Find(c.q, now)
		var got []string
		for _, s := range found {
			got = append(got, s.Site+"/"+s.Device+" "+s.Metric.Name)
		}
		if strings.Join(got, ", ") != c.want || more != c.more {
			t.Errorf("%s: %q, more %v", c.name, got, more)
		}
	}
}
