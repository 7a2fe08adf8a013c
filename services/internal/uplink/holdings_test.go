package uplink_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/uplink"
)

var first = time.Date(2026, 3, 14, 6, 0, 0, 0, time.UTC)

// policyOf returns a policy of selections.
func policyOf(t *testing.T, texts ...string) (p uplink.Policy) {
	t.Helper()
	for _, text := range texts {
		s, err := uplink.ParseSelection(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Readings = append(p.Readings, s)
	}
	return p
}

func of(device, metric string) telemetryv1.Key {
	return telemetryv1.Key{Site: "hall", Device: device, Metric: metric}
}

func TestTally(t *testing.T) {
	tally := uplink.NewTally(policyOf(t, "hall/*/rh=every 10", "hall/*/door=deadband 1", "hall/a/*", "hall/b/t"), first.Add(20*time.Minute), 2)
	for _, r := range []struct {
		key   telemetryv1.Key
		after time.Duration
		n     uint64
	}{
		{of("b", "t"), 0, 5},
		{of("b", "t"), 119 * time.Minute, 7},
		{of("b", "rh"), time.Minute, 25},
		{of("b", "door"), time.Minute, 3},
		{of("b", "other"), time.Minute, 3},
		{of("a", "t"), time.Hour, 2},
		{of("a", "t"), -time.Nanosecond, 2},
		{of("a", "t"), 2 * time.Hour, 2},
		{of("c", "t"), 0, 2},
	} {
		tally.Add(r.key, first.Add(r.after), r.n)
	}
	want := []uplink.Held{
		{Site: "hall", Device: "a", Counts: []uint64{0, 2}},
		{Site: "hall", Device: "b", Counts: []uint64{33, 7}, Least: []uint64{7, 7}},
	}
	h := tally.Holdings()
	if d := cmp.Diff(want, h.Devices); d != "" || !h.From.Equal(first) {
		t.Errorf("from %v: %s", h.From, d)
	}
}

func TestCompare(t *testing.T) {
	edge := uplink.Holdings{From: first, Hours: 4, Through: first.Add(3*time.Hour + time.Minute), Devices: []uplink.Held{
		{Site: "hall", Device: "a", Counts: []uint64{10, 10, 10, 10}},
		{Site: "hall", Device: "b", Counts: []uint64{10, 0, 10, 10}, Least: []uint64{1, 0, 1, 1}},
	}}
	centre := uplink.Holdings{From: first, Hours: 4, Devices: []uplink.Held{
		{Site: "hall", Device: "a", Counts: []uint64{10, 4, 0, 3}},
		{Site: "hall", Device: "b", Counts: []uint64{0, 0, 2, 0}},
		{Site: "hall", Device: "its-own", Counts: []uint64{9, 9, 9, 9}},
	}}
	hours, missing := uplink.Compare(edge, centre)
	if d := cmp.Diff([]uplink.Hour{
		{Start: first, Edge: 20, Centre: 10, Missing: 1},
		{Start: first.Add(time.Hour), Edge: 10, Centre: 4, Missing: 6},
		{Start: first.Add(2 * time.Hour), Edge: 20, Centre: 2, Missing: 10},
		{Start: first.Add(3 * time.Hour), Edge: 20, Centre: 3, Coming: 8},
	}, hours); d != "" {
		t.Error(d)
	}
	at := first.Unix()
	if d := cmp.Diff([]uplink.Piece{
		{Site: "hall", Device: "a", From: at + 3600, Until: at + 3*3600},
		{Site: "hall", Device: "b", From: at, Until: at + 3600},
	}, missing); d != "" {
		t.Error(d)
	}
}

func TestHoldingsArePacked(t *testing.T) {
	tally := func(devices, hours int) uplink.Holdings {
		tally := uplink.NewTally(policyOf(t, "all"), first, hours)
		x := uint64(1)
		for d := range devices {
			for h := 0; h < hours; h += 1 + hours/72 {
				x = x*6364136223846793005 + 1442695040888963407 // varied counts do not compress
				tally.Add(of(fmt.Sprintf("device-%d", d), "t"), first.Add(time.Duration(h)*time.Hour), x>>50+1)
			}
		}
		h := tally.Holdings()
		h.Through = first
		return h
	}
	for name, c := range map[string]struct {
		devices, hours   int
		fewer, uncounted bool
	}{
		"few":  {20, 72, false, false},
		"more": {200, 72, true, false},
		"many": {20_000, 1, false, true},
		"long": {400, 700, true, false},
	} {
		h := tally(c.devices, c.hours)
		body, err := h.Pack()
		if err != nil || len(body) > uplink.MaxHoldings {
			t.Fatalf("%s: %d bytes, %v", name, len(body), err)
		}
		got, err := uplink.UnpackHoldings(body)
		if err != nil || (got.Hours < c.hours) != c.fewer || (got.Uncounted > 0) != c.uncounted {
			t.Errorf("%s: %d hours, %d uncounted, %v", name, got.Hours, got.Uncounted, err)
		}
		if end, want := got.From.Add(time.Duration(got.Hours)*time.Hour), first.Add(time.Duration(c.hours)*time.Hour); !end.Equal(want) {
			t.Errorf("%s: until %v, want %v", name, end, want)
		}
		if !c.fewer && !c.uncounted {
			if d := cmp.Diff(h, got); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
	good := uplink.Holdings{From: first, Hours: 1, Devices: []uplink.Held{{Site: "s", Device: "a", Counts: []uint64{1}}, {Site: "s", Device: "b", Counts: []uint64{1}}}}
	for name, change := range map[string]func(*uplink.Holdings){
		"no hours":       func(h *uplink.Holdings) { h.Hours, h.Devices = 0, nil },
		"a century":      func(h *uplink.Holdings) { h.Hours, h.Devices = 876_000, nil },
		"half an hour":   func(h *uplink.Holdings) { h.From = h.From.Add(30 * time.Minute) },
		"a name":         func(h *uplink.Holdings) { h.Devices[0].Site = "a.>" },
		"too few counts": func(h *uplink.Holdings) { h.Devices[0].Counts = nil },
		"too many":       func(h *uplink.Holdings) { h.Devices[0].Least = []uint64{1, 2} },
		"twice":          func(h *uplink.Holdings) { h.Devices[1].Device = "a" },
		"a policy":       func(h *uplink.Holdings) { h.Policy.Budget = -1 },
	} {
		h := good
		h.Devices = append([]uplink.Held{}, good.Devices...)
		change(&h)
		body, err := h.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := uplink.UnpackHoldings(body); !errors.Is(err, uplink.ErrUpload) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range [][]byte{nil, []byte("text"), make([]byte, uplink.MaxHoldings+1)} {
		if _, err := uplink.UnpackHoldings(body); !errors.Is(err, uplink.ErrUpload) {
			t.Errorf("%d bytes: %v", len(body), err)
		}
	}
}

func TestRepairIsBounded(t *testing.T) {
	piece := uplink.Piece{Site: "s", Device: "d", From: 0, Until: 3600}
	for name, c := range map[string]struct {
		repair uplink.Repair
		good   bool
	}{
		"one":         {uplink.Repair{ID: "x", Pieces: []uplink.Piece{piece}}, true},
		"no id":       {uplink.Repair{Pieces: []uplink.Piece{piece}}, false},
		"many":        {uplink.Repair{ID: "x", Pieces: make([]uplink.Piece, uplink.MaxPieces+1)}, false},
		"a name":      {uplink.Repair{ID: "x", Pieces: []uplink.Piece{{Site: "*", Device: "d", Until: 1}}}, false},
		"backwards":   {uplink.Repair{ID: "x", Pieces: []uplink.Piece{{Site: "s", Device: "d", From: 2, Until: 1}}}, false},
		"a long time": {uplink.Repair{ID: "x", Pieces: []uplink.Piece{{Site: "s", Device: "d", Until: 1 << 40}}}, false},
	} {
		if err := c.repair.Validate(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
