package uplink_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/uplink"
)

func TestLine(t *testing.T) {
	want := uplink.Invitation{Address: "https://centre.example.org", Name: "warehouse-1", Secret: "S", Authority: strings.Repeat("ab", 32)}
	got, err := uplink.ParseLine(" " + want.Line() + "\n")
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	local := want
	local.Address = "http://127.0.0.1:8080"
	if _, err := uplink.ParseLine(local.Line()); err != nil {
		t.Errorf("without TLS on this machine: %v", err)
	}
	for what, change := range map[string]func(*uplink.Invitation){
		"without TLS elsewhere": func(i *uplink.Invitation) { i.Address = "http://10.0.0.7:8080" },
		"with a password":       func(i *uplink.Invitation) { i.Address = "https://a:b@centre.example.org" },
		"another scheme":        func(i *uplink.Invitation) { i.Address = "file:///etc/passwd" },
		"a name with a dot":     func(i *uplink.Invitation) { i.Name = "a.b" },
		"no fingerprint":        func(i *uplink.Invitation) { i.Authority = "abc" },
	} {
		i := want
		change(&i)
		if _, err := uplink.ParseLine(i.Line()); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	for _, line := range []string{"", "https://centre", want.Line()[:40], strings.Repeat("x", 5000)} {
		if _, err := uplink.ParseLine(line); err == nil || line != "" && strings.Contains(err.Error(), line) {
			t.Errorf("%.20q: %v", line, err)
		}
	}
}

func TestSelection(t *testing.T) {
	for text, want := range map[string]uplink.Selection{
		"all":                        {Series: "*/*/*"},
		"hall/*/temperature":         {Series: "hall/*/temperature"},
		"hall/d/t=every 10":          {Series: "hall/d/t", Every: 10},
		"*/*/*=deadband 0.5":         {Series: "*/*/*", Deadband: 0.5},
		"hall/d/t=every 0":           {Series: "hall/d/t"},
		"hall/d":                     {},
		"hall/d/t.x":                 {},
		"hall/d/t=every":             {},
		"hall/d/t=every -1":          {},
		"hall/d/t=deadband NaN":      {},
		"hall/d/t=sometimes":         {},
		"hall/d/t=every 10000000000": {},
	} {
		got, err := uplink.ParseSelection(text)
		if (err != nil) != (want == uplink.Selection{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if err != nil {
			continue
		}
		if again, err := uplink.ParseSelection(got.String()); err != nil || again.String() != got.String() {
			t.Errorf("%q: written as %q: %v", text, got, err)
		}
	}
}

// batch packs values of two series of one device, alternating, and a flag.
func batch(values ...float64) *telemetryv1.Batch {
	var b telemetryv1.Builder
	for i, v := range values {
		b.Value(telemetryv1.Key{Site: "hall", Device: "d", Metric: "t", Unit: "°C"}, int64(i), v)
		b.Value(telemetryv1.Key{Site: "hall", Device: "d", Metric: "rh"}, int64(i), -v)
		b.Flag(telemetryv1.Key{Site: "hall", Device: "d", Metric: "open"}, int64(i), v > 2)
	}
	return b.Take(7)
}

// series returns the values of one metric.
func series(b *telemetryv1.Batch, metric string) (out []float64) {
	if b == nil {
		return nil
	}
	d := b.Dictionary()
	for r := range b.Readings() {
		switch {
		case d[r.Series].Metric != metric:
		case r.Kind == telemetryv1.Kind_KIND_FLAG && r.Flag:
			out = append(out, 1)
		default:
			out = append(out, r.Value)
		}
	}
	return out
}

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		selections []string
		t, rh      []float64
		open       []float64
	}{
		{nil, nil, nil, nil},
		{[]string{"all"}, []float64{1, 2, 3, 3.2, 5, 1}, []float64{-1, -2, -3, -3.2, -5, -1}, []float64{0, 0, 1, 1, 1, 0}},
		{[]string{"hall/*/t"}, []float64{1, 2, 3, 3.2, 5, 1}, nil, nil},
		{[]string{"hall/*/t=every 3"}, []float64{1, 3.2}, nil, nil},
		{[]string{"*/*/t=deadband 1", "*/*/open=deadband 1"}, []float64{1, 3, 5, 1}, nil, []float64{0, 1, 0}},
		{[]string{"other/*/*", "*/d/t=every 2", "all"}, []float64{1, 3, 5}, []float64{-1, -2, -3, -3.2, -5, -1}, []float64{0, 0, 1, 1, 1, 0}},
	} {
		var p uplink.Policy
		for _, text := range c.selections {
			s, err := uplink.ParseSelection(text)
			if err != nil {
				t.Fatal(err)
			}
			p.Readings = append(p.Readings, s)
		}
		// What is selected does not depend on how readings are cut into batches.
		s := uplink.NewSelector(p)
		var got [3][]float64
		for _, b := range []*telemetryv1.Batch{batch(1, 2), batch(3), batch(3.2, 5, 1)} {
			selected := s.Select(b)
			if selected != nil && selected.Check() != nil {
				t.Fatalf("%v: %v", c.selections, selected.Check())
			}
			for i, metric := range []string{"t", "rh", "open"} {
				got[i] = append(got[i], series(selected, metric)...)
			}
		}
		if d := cmp.Diff([3][]float64{c.t, c.rh, c.open}, got); d != "" {
			t.Errorf("%v: %s", c.selections, d)
		}
	}
}

func TestCovers(t *testing.T) {
	last := uplink.Place{Incarnation: 1, Sequence: 10, Stored: 100}
	for what, c := range map[string]struct {
		of   uplink.Place
		want bool
	}{
		"the same":         {last, true},
		"an earlier one":   {uplink.Place{Incarnation: 1, Sequence: 9, Stored: 90}, true},
		"the next one":     {uplink.Place{Incarnation: 1, Sequence: 11, Stored: 100}, false},
		"another stream":   {uplink.Place{Incarnation: 2, Sequence: 1, Stored: 50}, false},
		"a sequence again": {uplink.Place{Incarnation: 1, Sequence: 8, Stored: 120}, false},
	} {
		if got := last.Covers(c.of); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

func TestClockOf(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		centre time.Duration
		want   uplink.Clock
	}{
		"right":  {50 * time.Millisecond, uplink.Clock{Within: 50 * time.Millisecond}},
		"ahead":  {-time.Minute, uplink.Clock{Ahead: time.Minute + 50*time.Millisecond, Within: 50 * time.Millisecond}},
		"behind": {time.Hour, uplink.Clock{Ahead: 50*time.Millisecond - time.Hour, Within: 50 * time.Millisecond}},
	} {
		if got := uplink.ClockOf(at, at.Add(100*time.Millisecond), at.Add(c.centre)); got != c.want {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if got := uplink.ClockOf(at, at, time.Time{}); got != (uplink.Clock{}) {
		t.Errorf("a centre that does not say: %+v", got)
	}
	if got := uplink.ClockOf(at, at, at); got.Within <= 0 {
		t.Errorf("an answer at once is not known: %+v", got)
	}
}

func TestPack(t *testing.T) {
	create := func() *telemetryv1.Batch { return new(telemetryv1.Batch) }
	frames := []*telemetryv1.Batch{batch(1, 2, 3), {}, batch(math.Pi)}
	body, err := uplink.Pack(frames)
	if err != nil {
		t.Fatal(err)
	}
	got, err := uplink.Unpack(body, create)
	if err != nil || len(got) != len(frames) || len(got[0].GetSeries()) != 9 || got[2].GetValue()[0] != math.Pi {
		t.Errorf("got %v, %v", got, err)
	}
	many := make([]*telemetryv1.Batch, uplink.MaxFrames+1)
	for i := range many {
		many[i] = &telemetryv1.Batch{Arrival: 1}
	}
	tooMany, err := uplink.Pack(many)
	if err != nil {
		t.Fatal(err)
	}
	bomb, err := uplink.Pack([]*telemetryv1.Batch{{Symbols: strings.Repeat("a", uplink.MaxUnpacked+1)}})
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{"half": body[:len(body)/2], "text": []byte("hello"), "many": tooMany, "large": bomb} {
		if _, err := uplink.Unpack(body, create); !errors.Is(err, uplink.ErrUpload) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhole(t *testing.T) {
	got := uplink.Whole(batch(21.5))
	// sensors/hall/d/t {"value":21.5,"ts":1764370000000}, and two like it.
	if got.Readings != 3 || got.Messages != 3 || got.Bytes != 55+57+59 {
		t.Errorf("%+v", got)
	}
}
