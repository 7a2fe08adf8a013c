package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/edges"
	"headwater/services/internal/uplink"
)

// edge runs one command line about edges.
func (w *world) edge(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs, in: strings.NewReader("")}, append([]string{"edge", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestEdgesByCommand(t *testing.T) {
	w := newWorld(t, false)
	w.edge(t, "ls").want(t, exitDone, "NAME")
	invited := w.edge(t, "invite", "attic", "--site", "hall", "--readings", "hall/*/t=every 10", "--budget", "2000000", "--address", "https://centre.example.org")
	invited.want(t, exitDone, "attic joins with this line", "headwater-edge-1.")
	line, err := uplink.ParseLine(strings.TrimSpace(invited.out))
	if err != nil || line.Name != "attic" || line.Address != "https://centre.example.org" {
		t.Fatalf("the line: %+v, %v", line, err)
	}
	w.edge(t, "ls").want(t, exitDone, "attic", "invited", "hall/*/t=every 10")

	store := edges.Store{JS: w.js}
	if _, err := store.Join(t.Context(), "attic", line.Secret, "a-token-that-the-edge-has-made", time.Now()); err != nil {
		t.Fatal(err)
	}
	status := edges.Status{Seen: time.Now()}
	status.Version = "1.2\x1b[31m"
	status.Readings.Last = 41
	status.Sent.Bytes, status.Whole.Bytes = 2048, 4<<20
	if err := store.PutStatus(t.Context(), "attic", status); err != nil {
		t.Fatal(err)
	}
	w.edge(t, "ls").want(t, exitDone, "online", "1.2", "41", "2.0 KiB", "4.0 MiB")
	w.edge(t, "set", "attic", "--readings", "all").want(t, exitDone, "attic gets the change")
	w.edge(t, "ls", "--json").want(t, exitDone, `"*/*/*"`, `"budget": 0`, `"waiting": 41`)
	w.edge(t, "set", "attic", "--summaries", "all=1m", "--summaries", "hall/*/t=1h").want(t, exitDone, "attic gets the change")
	w.edge(t, "ls").want(t, exitDone, "*/*/*=1m, hall/*/t=1h")
	w.edge(t, "set", "attic", "--summaries", "all=7m").want(t, exitFailed, "=1m, =1h and =1d")
	w.edge(t, "set", "nobody", "--readings", "all").want(t, exitFailed, "no edge of that name")
	w.edge(t, "set", "attic", "--readings", "hall").want(t, exitFailed, "site/device/metric")
	w.edge(t, "invite", "a.b", "--address", "https://centre.example.org").want(t, exitFailed, "cannot name an edge")
	w.edge(t, "gaps", "attic").want(t, exitDone, "HOUR", "has not counted yet")
	w.edge(t, "gaps", "nobody").want(t, exitFailed, "no edge of that name")
	w.edge(t, "repair", "attic").want(t, exitDone, "has not counted yet")
	w.edge(t, "revoke", "attic").want(t, exitUsage, "--yes")
	w.edge(t, "revoke", "attic", "nobody", "-y").want(t, exitFailed, "attic is revoked", "nobody: ")
	w.edge(t, "ls").want(t, exitDone, "revoked")
	w.audit(t, "ls").want(t, exitDone, "edge.invite", "edge.policy", "edge.revoke")
}
