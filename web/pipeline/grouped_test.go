package pipeline

import (
	"slices"
	"testing"
	"time"
)

func TestGrouped(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	got := grouped([]Consumer{
		{Stream: "T", Name: "writer", Pending: 1},
		{Stream: "D", Name: "writer-0", Purpose: "writes lane 0", Pending: 2, Active: at},
		{Stream: "D", Name: "writer-1", Purpose: "writes lane 1", Pending: 3, Unacked: 4, Active: at.Add(time.Second)},
		{Stream: "A", Name: "sender-1", Pending: 5},
		{Stream: "A", Name: "sender-phone", Pending: 6},
	})
	want := []Consumer{
		{Stream: "T", Name: "writer", Pending: 1},
		{Stream: "D", Name: "writer-0 … writer-1", Purpose: "writes each lane", Pending: 5, Unacked: 4, Active: at.Add(time.Second)},
		{Stream: "A", Name: "sender-1", Pending: 5},
		{Stream: "A", Name: "sender-phone", Pending: 6},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestSharePercent(t *testing.T) {
	for share, want := range map[float64]string{0: "0 %", 0.0001: "less than 0.1 %", 0.123: "12.3 %", 1: "100.0 %"} {
		if got := sharePercent(share); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
}
