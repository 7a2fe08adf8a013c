package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/edges"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// edgeToken is long enough for a token.
const edgeToken = "a-token-that-the-edge-has-made"

// asEdge sends a request of an edge and returns the status.
func (f *fixture) asEdge(name, token, path string, body []byte, into any) int {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.http.URL+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(uplink.HeaderEdge, name)
	res, err := f.http.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if into != nil && res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, into); err != nil {
			f.t.Fatal(err)
		}
	}
	return res.StatusCode
}

// joined invites an edge that joins.
func (f *fixture) joined(name string, sites ...string) edges.Store {
	f.t.Helper()
	store := edges.Store{JS: f.js}
	_, secret, err := store.Invite(f.t.Context(), name, time.Now(), func(e *edges.Edge) { e.Sites = sites })
	if err != nil {
		f.t.Fatal(err)
	}
	body, _ := json.Marshal(uplink.Join{Token: edgeToken})
	for range 2 { // the first answer may be lost
		if status := f.asEdge(name, secret, uplink.PathJoin, body, nil); status != http.StatusOK {
			f.t.Fatalf("join: %d", status)
		}
	}
	other, _ := json.Marshal(uplink.Join{Token: edgeToken + "-2"})
	if status := f.asEdge(name, secret, uplink.PathJoin, other, nil); status != http.StatusUnauthorized {
		f.t.Errorf("the secret is good twice: %d", status)
	}
	return store
}

// frame is a message of an edge with one reading of each device.
func frame(sequence uint64, value float64, site string, devices ...string) *telemetryv1.Batch {
	var b telemetryv1.Builder
	for _, d := range devices {
		b.Value(telemetryv1.Key{Site: site, Device: d, Metric: "t"}, time.Now().Add(-time.Hour).UnixNano()+int64(sequence), value)
	}
	out := b.Take(1)
	out.Origin = &telemetryv1.Origin{Incarnation: 1, Sequence: sequence, Stored: int64(sequence) * 1000}
	return out
}

func packed[M proto.Message](t *testing.T, frames ...M) []byte {
	t.Helper()
	body, err := uplink.Pack(frames)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// values returns the values that TELEMETRY has of each device, in their order.
func (f *fixture) values() map[string][]float64 {
	f.t.Helper()
	out := make(map[string][]float64)
	for _, data := range f.messages(streams.StreamTelemetry) {
		b, err := streams.DecodeTelemetry(data)
		if err != nil {
			f.t.Fatal(err)
		}
		dictionary := b.Dictionary()
		for r := range b.Readings() {
			d := dictionary[r.Series].Device
			out[d] = append(out[d], r.Value)
		}
	}
	return out
}

func (f *fixture) messages(name string) (out [][]byte) {
	f.t.Helper()
	stream, err := f.js.Stream(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		m, err := stream.GetMsg(f.t.Context(), sequence)
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, m.Data)
	}
	return out
}

func TestEdges(t *testing.T) {
	f := run(t).ready()
	t.Run("readings", func(t *testing.T) {
		f.t = t
		f.joined("e")
		send := func(to *fixture, frames ...*telemetryv1.Batch) int {
			to.t = t
			return to.asEdge("e", edgeToken, uplink.PathReadings, packed(t, frames...), nil)
		}
		one, two, three := frame(1, 1, "hall", "a", "b", "c", "d"), frame(2, 2, "hall", "a"), frame(4, 3, "hall", "a", "d")
		// Another gateway has read the ends of the lanes before this one writes.
		other := runOn(t, f.server).ready()
		if status := send(other, one); status != http.StatusOK {
			t.Fatalf("the first frame: %d", status)
		}
		for i, frames := range [][]*telemetryv1.Batch{{one, two}, {two}, {one, two, three}} {
			if status := send(f, frames...); status != http.StatusOK {
				t.Fatalf("upload %d: %d", i, status)
			}
		}
		// What the other one knows of the lanes is old: the stream refuses it once.
		if status := send(other, two, three, frame(5, 4, "hall", "a")); status != http.StatusServiceUnavailable {
			t.Errorf("a gateway that is behind: %d", status)
		}
		if status := send(other, two, three, frame(5, 4, "hall", "a")); status != http.StatusOK {
			t.Errorf("a gateway that is behind, again: %d", status)
		}
		// A stream that lost its end assigns a sequence again, later.
		reused := frame(5, 5, "hall", "a")
		reused.Origin.Stored = 6000
		if status := send(f, reused); status == http.StatusServiceUnavailable {
			status = send(f, reused)
			if status != http.StatusOK {
				t.Errorf("a sequence that was assigned again: %d", status)
			}
		}
		want := map[string][]float64{"a": {1, 2, 3, 4, 5}, "b": {1}, "c": {1}, "d": {1, 3}}
		if d := cmp.Diff(want, f.values()); d != "" {
			t.Error(d)
		}
		var answer uplink.Answer
		if status := f.asEdge("e", edgeToken, uplink.PathContact, []byte(`{"version":"1"}`), &answer); status != http.StatusOK || answer.Readings.Sequence != 5 {
			t.Errorf("contact: %d %+v", status, answer)
		}
	})
	t.Run("a repair", func(t *testing.T) {
		f.t = t
		store := edges.Store{JS: f.js}
		other := runOn(t, f.server).ready()
		again := frame(1, 9, "hall", "a", "new")
		again.Origin = nil
		repair := func(to *fixture) int {
			to.t = t
			return to.asEdge("e", edgeToken, uplink.PathRepair, packed(t, again), nil)
		}
		send := func(to *fixture, frames ...*telemetryv1.Batch) int {
			to.t = t
			return to.asEdge("e", edgeToken, uplink.PathReadings, packed(t, frames...), nil)
		}
		last := frame(6, 6, "hall", "a")
		last.Origin.Stored = 7000
		if status := repair(f); status != http.StatusOK {
			t.Fatalf("repair: %d", status)
		}
		// The place of the lane is as before: what was stored is left out, what comes is not.
		for _, to := range []*fixture{f, other, f} {
			status := send(to, last)
			if status == http.StatusServiceUnavailable { // the other one is behind
				status = send(to, last)
			}
			if status != http.StatusOK {
				t.Errorf("after the repair: %d", status)
			}
		}
		if d := cmp.Diff(map[string][]float64{"a": {1, 2, 3, 4, 5, 9, 6}, "b": {1}, "c": {1}, "d": {1, 3}, "new": {9}}, f.values()); d != "" {
			t.Error(d)
		}

		held := uplink.Holdings{From: time.Unix(0, 0).UTC(), Hours: 1, Devices: []uplink.Held{{Site: "hall", Device: "a", Counts: []uint64{7}}}}
		body, err := held.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if status := f.asEdge("e", edgeToken, uplink.PathHoldings, body, nil); status != http.StatusOK {
			t.Errorf("holdings: %d", status)
		}
		if status := f.asEdge("e", edgeToken, uplink.PathHoldings, []byte("text"), nil); status != http.StatusBadRequest {
			t.Errorf("holdings that cannot be read: %d", status)
		}
		if got, at, err := store.Holdings(t.Context(), "e"); err != nil || at.IsZero() || len(got.Devices) != 1 {
			t.Errorf("holdings: %+v, %v", got, err)
		}
		if _, err := store.AskRepair(t.Context(), "e", time.Now(), []uplink.Piece{{Site: "hall", Device: "a", From: 0, Until: 3600}}); err != nil {
			t.Fatal(err)
		}
		asked := func(report string) *uplink.Repair {
			var answer uplink.Answer
			if status := f.asEdge("e", edgeToken, uplink.PathContact, []byte(report), &answer); status != http.StatusOK {
				t.Fatalf("contact: %d", status)
			}
			return answer.Repair
		}
		r := asked(`{"version":"1"}`)
		if r == nil || len(r.Pieces) != 1 {
			t.Fatalf("the edge is asked for %+v", r)
		}
		if again := asked(`{"version":"1","repair":{"id":"` + r.ID + `"}}`); again != nil {
			t.Errorf("an edge that knows is asked again: %+v", again)
		}
	})
	t.Run("summaries", func(t *testing.T) {
		f.t = t
		f.joined("e3")
		send := func(path string, frames ...*telemetryv1.Batch) {
			t.Helper()
			if status := f.asEdge("e3", edgeToken, path, packed(t, frames...), nil); status != http.StatusOK {
				t.Fatalf("upload: %d", status)
			}
		}
		// Their places are those of another stream than those of the readings.
		send(uplink.PathReadings, frame(9, 1, "hall", "of-both"))
		parts := []*telemetryv1.Batch{frame(1, 2, "hall", "of-both"), frame(1, 3, "hall", "of-both"), frame(2, 4, "hall", "of-both")}
		parts[0].Origin.Stored-- // two frames of one message
		send(uplink.PathSummaries, parts[0])
		send(uplink.PathSummaries, parts...)
		send(uplink.PathSummaries, parts[1:]...)
		send(uplink.PathReadings, frame(9, 1, "hall", "of-both"), frame(10, 5, "hall", "of-both"))
		if got, want := f.values()["of-both"], []float64{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("stored %v, want %v", got, want)
		}
		var answer uplink.Answer
		if status := f.asEdge("e3", edgeToken, uplink.PathContact, []byte(`{"version":"1"}`), &answer); status != http.StatusOK || answer.Summaries.Sequence != 2 || answer.Readings.Sequence != 10 {
			t.Errorf("contact: %d %+v", status, answer)
		}
	})
	t.Run("what may not be sent", func(t *testing.T) {
		f.t = t
		store := f.joined("limited", "yard")
		bad := frame(1, math.NaN(), "yard", "x")
		if status := f.asEdge("limited", edgeToken, uplink.PathReadings, packed(t, frame(2, 1, "hall", "foreign"), bad, frame(3, 1, "yard", "own")), nil); status != http.StatusOK {
			t.Fatalf("upload: %d", status)
		}
		got := f.values()
		if len(got["foreign"])+len(got["x"]) > 0 || !slices.Equal(got["own"], []float64{1}) {
			t.Errorf("stored %v", got)
		}
		if st, err := store.Status(t.Context(), "limited"); err != nil || st.Refused != 2 {
			t.Errorf("status %+v, %v", st, err)
		}
		for what, c := range map[string]struct {
			name, token string
			body        []byte
			want        int
		}{
			"another token": {"limited", edgeToken + "x", nil, http.StatusUnauthorized},
			"no such edge":  {"nobody", edgeToken, nil, http.StatusUnauthorized},
			"a name":        {"a.>", edgeToken, nil, http.StatusUnauthorized},
			"a body":        {"limited", edgeToken, []byte("text"), http.StatusBadRequest},
			"columns":       {"limited", edgeToken, packed(t, &telemetryv1.Batch{Series: []uint32{7}, Time: []int64{1}}), http.StatusBadRequest},
		} {
			if status := f.asEdge(c.name, c.token, uplink.PathReadings, c.body, nil); status != c.want {
				t.Errorf("%s: %d, want %d", what, status, c.want)
			}
		}
		if _, err := store.Revoke(t.Context(), "limited", time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{uplink.PathContact, uplink.PathReadings, uplink.PathAlerts} {
			if status := f.asEdge("limited", edgeToken, path, nil, nil); status != http.StatusForbidden {
				t.Errorf("revoked, %s: %d", path, status)
			}
		}
	})
	t.Run("alerts", func(t *testing.T) {
		f.t = t
		f.joined("e2", "hall")
		commit := func(sequence uint64, site, notifier string) *derivedv1.Commit {
			return &derivedv1.Commit{
				Input: &derivedv1.Position{Incarnation: 1, Sequence: sequence, Stored: int64(sequence)}, Notifier: notifier,
				Anomalies: []*derivedv1.Anomaly{{Rule: "r", Series: &derivedv1.Series{Site: site, Device: "d", Metric: "t"}, Start: int64(sequence), Phase: derivedv1.Phase_PHASE_OPEN}},
			}
		}
		for _, frames := range [][]*derivedv1.Commit{
			{commit(1, "hall", ""), commit(2, "elsewhere", "")},
			{commit(1, "hall", ""), commit(2, "elsewhere", ""), commit(3, "hall", "x"), commit(4, "hall", "x")},
			{commit(3, "hall", "x")},
		} {
			if status := f.asEdge("e2", edgeToken, uplink.PathAlerts, packed(t, frames...), nil); status != http.StatusOK {
				t.Fatalf("upload: %d", status)
			}
		}
		type seen struct {
			Notifier string
			Starts   []int64
		}
		var got []seen
		for _, data := range f.messages(streams.StreamDerived) {
			c, err := streams.DecodeDerived(data)
			if err != nil {
				t.Fatal(err)
			}
			s := seen{Notifier: c.GetNotifier()}
			for _, a := range c.GetAnomalies() {
				s.Starts = append(s.Starts, a.GetStart())
			}
			got = append(got, s)
		}
		if d := cmp.Diff([]seen{{"", []int64{1}}, {"e2", []int64{3, 4}}}, got); d != "" {
			t.Error(d)
		}
	})
}
