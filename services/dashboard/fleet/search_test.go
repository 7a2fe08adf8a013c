package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/web/view"
)

func TestSearch(t *testing.T) {
	b := NewBook()
	at := func(minute int) time.Time { return time.Unix(int64(minute)*60, 0) }
	b.PutEpisode("hall", "door-2", view.Episode{Rule: "warm", Metric: "temperature", Start: at(10), End: at(20)})
	b.PutEpisode("hall", "door-1", view.Episode{Rule: "warm", Metric: "temperature", Start: at(5), End: at(12)})
	b.PutEpisode("hall", "door-1", view.Episode{Rule: "warm", Metric: "temperature", Start: at(30)})
	b.PutEpisode("hall", "door-1", view.Episode{Rule: "damp", Metric: "humidity", Start: at(6), End: at(7)})
	temperature := func(_, _, metric string) bool { return metric == "temperature" }
	for _, c := range []struct {
		name     string
		from, to int
		most     int
		want     []string
		more     bool
	}{
		{"all of the metric, by their start", 0, 60, 9, []string{"door-1 5", "door-2 10", "door-1 30"}, false},
		{"what touches the period", 12, 30, 9, []string{"door-1 5", "door-2 10"}, false},
		{"what lasts touches all that comes", 50, 60, 9, []string{"door-1 30"}, false},
		{"no more than asked for", 0, 60, 2, []string{"door-1 5", "door-2 10"}, true},
	} {
		found, more := b.Search(temperature, at(c.from), at(c.to), c.most)
		var got []string
		for _, f := range found {
			got = append(got, fmt.Sprintf("%s %d", f.Device, f.Start.Unix()/60))
		}
		if diff := cmp.Diff(c.want, got); diff != "" || more != c.more {
			t.Errorf("%s: more %v (-want +got):\n%s", c.name, more, diff)
		}
	}
}

func TestFirstSeen(t *testing.T) {
	f := New("")
	begin := time.Unix(1_800_000_000, 0)
	for i, dev := range []string{"old", "new", "newer", "newest"} {
		f.Know("hall", dev, begin.Add(time.Duration(i)*time.Minute), nil)
	}
	var names []string
	for _, d := range f.FirstSeen(begin.Add(time.Minute), begin.Add(time.Hour), 2) {
		names = append(names, d.Device)
	}
	if want := []string{"newest", "newer"}; !slices.Equal(names, want) {
		t.Errorf("devices %v, want %v", names, want)
	}
}
