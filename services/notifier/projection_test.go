package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/streams"
)

// history is a made-up ALERTING, as projections read it.
type history struct {
	*fixture

	incarnation time.Time
	commits     []*alertingv1.Commit
}

func newHistory(t *testing.T, commits ...[]*alertingv1.Alert) *history {
	t.Helper()
	h := &history{fixture: setup(t), incarnation: time.Unix(1_700_000_000, 0)}
	for _, alerts := range commits {
		h.commits = append(h.commits, &alertingv1.Commit{Alerts: alerts})
	}
	return h
}

// fires and ends are an alert of an id; at tells them apart.
func fires(id string, at int64) *alertingv1.Alert {
	return &alertingv1.Alert{Id: id, State: alertingv1.State_STATE_FIRING, Started: at, Updated: at}
}

func ends(id string, at int64) *alertingv1.Alert {
	return &alertingv1.Alert{Id: id, State: alertingv1.State_STATE_RESOLVED, Ended: at, Updated: at}
}

// owner opens the projection as somebody who comes to own the lane does.
func (h *history) owner(t *testing.T) *projection {
	t.Helper()
	p, err := openProjection(t.Context(), h.js, h.incarnation.UnixNano(), newMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	if p.unknown || p.recreated {
		if err := p.write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// work has the owner continue up to a commit, with as many restarts as it takes.
func (h *history) work(t *testing.T, p *projection, until int) {
	t.Helper()
	for range 10 {
		if p.stale {
			if err := p.reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for !p.stale && p.position < uint64(until) {
			next := p.position + 1
			if err := p.apply(t.Context(), next, 0, h.commits[next-1]); err != nil && !p.stale {
				t.Fatal(err)
			}
		}
		if !p.stale {
			return
		}
	}
	t.Fatal("the owner gets nowhere")
}

func (h *history) save(t *testing.T, p *projection) {
	t.Helper()
	if err := p.save(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}

// expect compares the bucket, where an alert is its state and its time.
func (h *history) expect(t *testing.T, want map[string]string) {
	t.Helper()
	kv, err := h.js.KeyValue(t.Context(), streams.BucketAlerts)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, id := range keys {
		entry, err := kv.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		a := new(alertingv1.Alert)
		if err := protojson.Unmarshal(entry.Value(), a); err != nil {
			t.Fatal(err)
		}
		got[id] = fmt.Sprintf("%s %d", a.GetState(), a.GetUpdated())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func (h *history) bucket(t *testing.T, name string) jetstream.KeyValue {
	t.Helper()
	kv, err := h.js.KeyValue(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// TestFormerOwnerBringsNothingBack has an owner that is behind continue beside the
// next one, and stop anywhere.
func TestFormerOwnerBringsNothingBack(t *testing.T) {
	for stop := 1; stop <= 4; stop++ {
		t.Run(fmt.Sprintf("stops behind commit %d", stop), func(t *testing.T) {
			h := newHistory(t,
				[]*alertingv1.Alert{fires("a", 1), fires("b", 1)},
				[]*alertingv1.Alert{ends("a", 2)},
				[]*alertingv1.Alert{fires("a", 3), ends("b", 3)},
				[]*alertingv1.Alert{ends("a", 4)},
			)
			former := h.owner(t)
			h.work(t, former, 1)
			next := h.owner(t)
			h.work(t, next, 4)
			h.work(t, former, stop)
			// Each takes note of how far it is, the former one last.
			_ = next.save(t.Context(), true)
			_ = former.save(t.Context(), true)
			h.work(t, h.owner(t), 4)
			h.expect(t, map[string]string{"a": "STATE_RESOLVED 4", "b": "STATE_RESOLVED 3"})
		})
	}
}

// TestFormerOwnerFindsRemovedAlerts has the next owner remove an alert that the
// former one knows to fire, or doesn't know yet.
func TestFormerOwnerFindsRemovedAlerts(t *testing.T) {
	for known := range 2 {
		t.Run(fmt.Sprintf("behind commit %d", known), func(t *testing.T) {
			h := newHistory(t, []*alertingv1.Alert{fires("a", 1)}, []*alertingv1.Alert{fires("a", 2)}, []*alertingv1.Alert{ends("a", 3)})
			former := h.owner(t)
			h.work(t, former, known)
			next := h.owner(t)
			h.work(t, next, 3)
			// As forget does, long after.
			h.save(t, next)
			if err := next.alerts.Purge(t.Context(), "a", jetstream.LastRevision(next.revisions["a"])); err != nil {
				t.Fatal(err)
			}
			if err := former.apply(t.Context(), uint64(known+1), 0, h.commits[known]); err == nil {
				t.Fatal("the former owner wrote an alert that was removed")
			}
			if err := former.reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The bucket is empty, so the next owner reads everything again.
			if former.position != 0 {
				t.Errorf("the former owner continues after commit %d", former.position)
			}
			h.work(t, h.owner(t), 3)
			h.expect(t, map[string]string{"a": "STATE_RESOLVED 3"})
		})
	}
}

// TestRemovalOfManyIsNotUndone fills the bucket until alerts are removed, beside a
// former owner that knows one of them otherwise.
func TestRemovalOfManyIsNotUndone(t *testing.T) {
	var all []*alertingv1.Alert
	for i := range maxResolved + slackResolved - 1 {
		all = append(all, ends(fmt.Sprintf("n%05d", i), int64(10+i)))
	}
	h := newHistory(t, []*alertingv1.Alert{fires("a", 1), fires("keeps", 1)}, all, []*alertingv1.Alert{ends("a", 2)}, []*alertingv1.Alert{fires("a", 9)})
	former := h.owner(t)
	h.work(t, former, 1)
	next := h.owner(t)
	h.work(t, next, 3)
	kv := h.bucket(t, streams.BucketAlerts)
	if _, err := kv.Get(t.Context(), "a"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("the oldest should be removed: %v", err)
	}
	if _, err := kv.Get(t.Context(), "keeps"); err != nil {
		t.Errorf("one that fires is never removed: %v", err)
	}
	if err := former.apply(t.Context(), 3, 0, h.commits[2]); err == nil {
		t.Fatal("the former owner wrote over the removal")
	}
	if err := former.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if former.position != 3 {
		t.Errorf("the former owner continues after commit %d, the removal was of 3", former.position)
	}
	// It fires again: the owner that removed it finds the key as it is, and continues.
	h.work(t, next, 4)
	if entry, err := kv.Get(t.Context(), "a"); err != nil {
		t.Errorf("an alert that was removed and fires again: %v, %v", entry, err)
	}
}

// slow is a bucket whose removals take so long that something happens meanwhile.
type slow struct {
	jetstream.KeyValue

	meanwhile func()
}

func (s slow) Purge(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	s.meanwhile()
	return s.KeyValue.Purge(ctx, key, opts...)
}

// TestRemovalThatComesLate has an alert fire again while a former owner is about
// to remove it.
func TestRemovalThatComesLate(t *testing.T) {
	var all []*alertingv1.Alert
	for i := range maxResolved + slackResolved - 1 {
		all = append(all, ends(fmt.Sprintf("n%05d", i), int64(10+i)))
	}
	h := newHistory(t, append(all, ends("a", 1)), []*alertingv1.Alert{fires("a", 2)})
	former := h.owner(t)
	former.alerts = slow{former.alerts, func() { h.work(t, h.owner(t), 2) }}
	if err := former.apply(t.Context(), 1, 0, h.commits[0]); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		t.Errorf("the removal: %v", err)
	}
	if _, err := h.bucket(t, streams.BucketAlerts).Get(t.Context(), "a"); err != nil {
		t.Errorf("an alert that fires: %v", err)
	}
}

// TestRebuildThatEndsInTheMiddle empties the bucket and kills who fills it again.
func TestRebuildThatEndsInTheMiddle(t *testing.T) {
	h := newHistory(t, []*alertingv1.Alert{fires("a", 1)}, []*alertingv1.Alert{fires("b", 2)}, []*alertingv1.Alert{fires("c", 3)})
	first := h.owner(t)
	h.work(t, first, 3)
	h.save(t, first)
	kv := h.bucket(t, streams.BucketAlerts)
	for _, id := range []string{"a", "b", "c"} {
		if err := kv.Purge(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.owner(t).put(t.Context(), 1, 0, h.commits[0].GetAlerts()[0]); err != nil {
		t.Fatal(err)
	}
	h.work(t, h.owner(t), 3)
	h.expect(t, map[string]string{"a": "STATE_FIRING 1", "b": "STATE_FIRING 2", "c": "STATE_FIRING 3"})
	if err := first.write(t.Context()); err == nil {
		t.Error("who doesn't know that the bucket was emptied can say that it reflects everything")
	}
}

// TestBucketRecreated deletes and recreates the bucket of an owner, which writes a new
// alert before it notices.
func TestBucketRecreated(t *testing.T) {
	h := newHistory(t, []*alertingv1.Alert{fires("a", 1)}, []*alertingv1.Alert{fires("b", 2)}, []*alertingv1.Alert{fires("c", 3)})
	p := h.owner(t)
	h.work(t, p, 2)
	h.save(t, p)
	if err := p.checkBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.js.DeleteKeyValue(t.Context(), streams.BucketAlerts); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Ensure(t.Context(), h.js, streams.Options{Lanes: 2}); err != nil {
		t.Fatal(err)
	}
	h.work(t, p, 3)
	h.expect(t, map[string]string{"c": "STATE_FIRING 3"})
	if err := p.checkBucket(t.Context()); err == nil {
		t.Fatal("the bucket is another")
	}
	// Who fills it is killed, too.
	if err := p.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.put(t.Context(), 1, 0, h.commits[0].GetAlerts()[0]); err != nil {
		t.Fatal(err)
	}
	h.work(t, h.owner(t), 3)
	h.expect(t, map[string]string{"a": "STATE_FIRING 1", "b": "STATE_FIRING 2", "c": "STATE_FIRING 3"})
}

// TestAlertingRecreated has a stream follow whose sequences begin again.
func TestAlertingRecreated(t *testing.T) {
	h := newHistory(t, []*alertingv1.Alert{fires("a", 1)}, []*alertingv1.Alert{fires("b", 2)}, []*alertingv1.Alert{ends("b", 3)})
	former := h.owner(t)
	h.work(t, former, 2)
	recreated := &history{fixture: h.fixture, incarnation: h.incarnation.Add(-time.Hour), commits: []*alertingv1.Commit{{Alerts: []*alertingv1.Alert{ends("a", 7), ends("b", 7)}}}}
	recreated.work(t, recreated.owner(t), 1)
	if err := former.apply(t.Context(), 3, 0, h.commits[2]); err == nil {
		t.Fatal("the follower of a stream that is gone wrote over what the new one says")
	}
	if err := former.reload(t.Context()); !errors.Is(err, streams.ErrRecreated) {
		t.Errorf("the follower of a stream that is gone should end: %v", err)
	}
	h.expect(t, map[string]string{"a": "STATE_RESOLVED 7", "b": "STATE_RESOLVED 7"})
}

// TestAlertingLostItsEnd has the projection continue from an earlier commit, while the
// bucket holds an alert of a commit whose sequence is assigned again.
func TestAlertingLostItsEnd(t *testing.T) {
	h := newHistory(t)
	p := h.owner(t)
	for i, alerts := range [][]*alertingv1.Alert{{fires("a", 1)}, {fires("b", 2)}, {fires("c", 3)}} {
		if err := p.apply(t.Context(), uint64(i+1), int64(10*(i+1)), &alertingv1.Commit{Alerts: alerts}); err != nil {
			t.Fatal(err)
		}
	}
	h.save(t, p)
	if err := p.rewind(t.Context(), streams.Place{Incarnation: p.incarnation, Sequence: 1, Stored: 10}); err != nil {
		t.Fatal(err)
	}
	p = h.owner(t)
	if p.position != 1 || p.positionStored != 10 || p.channels != 1 {
		t.Fatalf("it resumes behind %d, stored at %d, with channels from %d", p.position, p.positionStored, p.channels)
	}
	if err := p.apply(t.Context(), 2, 40, &alertingv1.Commit{Alerts: []*alertingv1.Alert{ends("c", 4)}}); err != nil {
		t.Fatal(err)
	}
	h.expect(t, map[string]string{"a": "STATE_FIRING 1", "b": "STATE_FIRING 2", "c": "STATE_RESOLVED 4"})
	// A repeat of what is reflected changes nothing, as ever.
	if err := p.put(t.Context(), 1, 10, ends("c", 5)); err != nil {
		t.Fatal(err)
	}
	h.expect(t, map[string]string{"a": "STATE_FIRING 1", "b": "STATE_FIRING 2", "c": "STATE_RESOLVED 4"})
}

// TestAlertsOfOlderVersions has the bucket hold an alert that doesn't say which
// commit it is of, and what is no alert.
func TestAlertsOfOlderVersions(t *testing.T) {
	h := newHistory(t, []*alertingv1.Alert{ends("a", 2), ends("b", 2)})
	kv := h.bucket(t, streams.BucketAlerts)
	for id, value := range map[string]string{"a": `{"id":"a","state":"STATE_FIRING"}`, "b": `{`} {
		if _, err := kv.PutString(t.Context(), id, value); err != nil {
			t.Fatal(err)
		}
	}
	h.work(t, h.owner(t), 1)
	h.expect(t, map[string]string{"a": "STATE_RESOLVED 2", "b": "STATE_RESOLVED 2"})
}

// TestCheckpointIsLost deletes it, and damages it.
func TestCheckpointIsLost(t *testing.T) {
	for name, lose := range map[string]func(context.Context, jetstream.KeyValue) error{
		"deleted": func(ctx context.Context, kv jetstream.KeyValue) error { return kv.Delete(ctx, streams.AlertsKey) },
		"damaged": func(ctx context.Context, kv jetstream.KeyValue) error {
			_, err := kv.PutString(ctx, streams.AlertsKey, "{")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, []*alertingv1.Alert{fires("a", 1)}, []*alertingv1.Alert{ends("a", 2)})
			p := h.owner(t)
			h.work(t, p, 1)
			manifests := h.bucket(t, streams.BucketManifests)
			if err := lose(t.Context(), manifests); err != nil {
				t.Fatal(err)
			}
			if err := p.save(t.Context(), true); err == nil {
				t.Error("the checkpoint was written over what is not known")
			}
			h.work(t, p, 2)
			h.save(t, p)
			entry, err := manifests.Get(t.Context(), streams.AlertsKey)
			if err != nil {
				t.Fatal(err)
			}
			var c streams.Checkpoint
			if err := json.Unmarshal(entry.Value(), &c); err != nil || c.Sequence != 2 || c.Incarnation != h.incarnation.UnixNano() {
				t.Errorf("the checkpoint is %+v, %v", c, err)
			}
			h.expect(t, map[string]string{"a": "STATE_RESOLVED 2"})
		})
	}
}

// TestFiringIsNotAcknowledged follows the counts of an alert through its life.
func TestFiringIsNotAcknowledged(t *testing.T) {
	p := &projection{metrics: newMetrics(prometheus.NewRegistry()), known: map[string]*alertingv1.Alert{}}
	for _, step := range []struct {
		state                alertingv1.State
		firing, acknowledged float64
	}{
		{alertingv1.State_STATE_FIRING, 1, 0},
		{alertingv1.State_STATE_ACKNOWLEDGED, 0, 1},
		{alertingv1.State_STATE_ACKNOWLEDGED, 0, 1},
		{alertingv1.State_STATE_FIRING, 1, 0},
		{alertingv1.State_STATE_ACKNOWLEDGED, 0, 1},
		{alertingv1.State_STATE_RESOLVED, 0, 0},
	} {
		p.remember(&alertingv1.Alert{Id: "a", State: step.state})
		if firing, acknowledged := testutil.ToFloat64(p.metrics.firing), testutil.ToFloat64(p.metrics.acknowledged); firing != step.firing || acknowledged != step.acknowledged {
			t.Errorf("%s: %g fire and %g are acknowledged", step.state, firing, acknowledged)
		}
	}
}
