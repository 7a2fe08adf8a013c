package bridge_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/bridge"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// arrived is when the letters of these tests came in, long before they are
// redriven.
var arrived = time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Millisecond).UTC()

// letter stores a dead letter of the bridge and returns its sequence.
func (w *world) letter(t *testing.T, origin, payload string) uint64 {
	t.Helper()
	return w.bury(t, streams.DeadLetter{
		Service: streams.ServiceBridge, Reason: streams.ReasonPayload, Origin: origin, Arrived: arrived, Payload: []byte(payload),
	})
}

func (w *world) bury(t *testing.T, d streams.DeadLetter) uint64 {
	t.Helper()
	ack, err := w.js.PublishMsg(t.Context(), d.Msg())
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// redrive asks for letters to be redriven, as the dashboard does.
func (w *world) redrive(t *testing.T, sequences ...uint64) streams.RedriveAnswer {
	t.Helper()
	subject, data, err := streams.RedriveRequest{Sequences: sequences}.Msg(streams.ServiceBridge)
	if err != nil {
		t.Fatal(err)
	}
	return w.request(t, subject, data)
}

// request asks as soon as a bridge listens.
func (w *world) request(t *testing.T, subject string, data []byte) streams.RedriveAnswer {
	t.Helper()
	var m *nats.Msg
	streamtest.Eventually(t, "a bridge answers", func() (ok bool) {
		var err error
		m, err = w.js.Conn().Request(subject, data, within)
		if err != nil && !errors.Is(err, nats.ErrNoResponders) {
			t.Fatal(err)
		}
		return err == nil
	})
	answer, err := streams.DecodeRedriveAnswer(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func outcomes(a streams.RedriveAnswer) []streams.Outcome {
	var all []streams.Outcome
	for _, r := range a.Results {
		all = append(all, r.Outcome)
	}
	return all
}

// redriven returns what was stored by a redrive.
func (w *world) redriven(t *testing.T) []batch {
	t.Helper()
	return slices.DeleteFunc(w.batches(t), func(b batch) bool { return b.source != streams.SourceRedrive })
}

// TestRedriveAfterTheFix sends what the topics did not take, mends the topics,
// and finds the readings stored once, with the time at which they came.
func TestRedriveAfterTheFix(t *testing.T) {
	w := newWorld(t)
	first := w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "plant/hall/d/m", "21.5")
	dead := w.deadLetters(t)
	if len(dead) != 1 || dead[0].Reason != streams.ReasonTopic {
		t.Fatalf("dead letters: %+v", dead)
	}
	first.stop(t)
	r := w.start(t, func(cfg *bridge.Config, _ *bridge.Deps) {
		cfg.Topics = append(cfg.Topics, "plant/{site}/{device}/{metric}")
	})
	answer := w.redrive(t, 1)
	if len(answer.Results) != 1 || answer.Results[0] != (streams.Redriven{Sequence: 1, Outcome: streams.OutcomeRedriven, Readings: 1}) {
		t.Fatalf("answer: %+v", answer)
	}
	if dead := w.deadLetters(t); len(dead) != 0 {
		t.Errorf("dead letters are left: %+v", dead)
	}
	if got := w.readings(t); !slices.Equal(got, []string{"redrive hall/d/m 21.5"}) {
		t.Errorf("readings: %q", got)
	}
	b := w.redriven(t)[0]
	if b.GetArrival() != dead[0].Arrived.UnixNano() {
		t.Errorf("arrived at %d, want %d", b.GetArrival(), dead[0].Arrived.UnixNano())
	}
	for reading := range b.Readings() {
		if reading.Time != dead[0].Arrived.UnixNano() {
			t.Errorf("the reading is of %d, want its arrival", reading.Time)
		}
	}
	if n := r.value(t, "headwater_bridge_redriven_total", "redriven"); n != 1 {
		t.Errorf("%v redriven counted", n)
	}
	// Asking once more changes nothing.
	if got := outcomes(w.redrive(t, 1)); !slices.Equal(got, []streams.Outcome{streams.OutcomeGone}) {
		t.Errorf("once more: %v", got)
	}
	// The input continues: the redrive did not disturb any lane.
	publish(t, c, 1, "plant/hall/d/m", "22")
	if got := w.readings(t); !slices.Equal(got, []string{"redrive hall/d/m 21.5", "mqtt hall/d/m 22"}) {
		t.Errorf("readings: %q", got)
	}
}

func TestRedriveOfMany(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	cut := streams.DeadLetter{Service: streams.ServiceBridge, Reason: streams.ReasonTopic, Origin: "sensors/hall/d/m ", Arrived: arrived, Payload: []byte("1")}
	writer := streams.DeadLetter{Service: streams.ServiceWriter, Reason: streams.ReasonRejected, Origin: "x", Arrived: arrived, Payload: []byte("m v=1")}
	sequences := []uint64{
		w.letter(t, "sensors/hall/d/m", "1"),
		w.letter(t, "sensors/hall/d/m", "NaN"),
		w.letter(t, "sensors/hall/e", `{"a":1,"b":true}`),
		w.bury(t, cut),
		w.bury(t, writer),
		999,
	}
	answer := w.redrive(t, sequences...)
	want := []streams.Outcome{
		streams.OutcomeRedriven, streams.OutcomeRefused, streams.OutcomeRedriven,
		streams.OutcomeKept, streams.OutcomeKept, streams.OutcomeGone,
	}
	if got := outcomes(answer); !slices.Equal(got, want) {
		t.Fatalf("outcomes %v, want %v: %+v", got, want, answer)
	}
	if got, want := w.readings(t), []string{"redrive hall/d/m 1", "redrive hall/e/a 1", "redrive hall/e/b true"}; !equalSets(got, want) {
		t.Errorf("readings %q, want %q", got, want)
	}
	refused := answer.Results[1]
	if refused.Reason != streams.ReasonValue || !strings.Contains(refused.Detail, "NaN") {
		t.Errorf("refused: %+v", refused)
	}
	dead := w.deadLetters(t)
	if len(dead) != 3 {
		t.Fatalf("%d dead letters, want the two that nobody redrives and the one that was refused again: %+v", len(dead), dead)
	}
	again := dead[2]
	if again.Reason != streams.ReasonValue || again.Origin != "sensors/hall/d/m" || again.Device != "d" || string(again.Payload) != "NaN" || !again.Arrived.Equal(arrived) {
		t.Errorf("refused again: %+v", again)
	}
}

// TestRedriveOutlivesACrash is cut off between storing and removing, and
// redrives again.
func TestRedriveOutlivesACrash(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	sequences := []uint64{
		w.letter(t, "sensors/hall/d/m", "1"),
		w.letter(t, "sensors/hall/d/m", "NaN"),
	}
	results, err := r.RedriveUntilStored(t.Context(), lanes, sequences...)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Outcome != streams.OutcomeFailed || !strings.Contains(result.Detail, "not removed") {
			t.Errorf("cut off: %+v", result)
		}
	}
	if got := w.readings(t); len(got) != 1 {
		t.Errorf("stored before the crash: %q", got)
	}
	if dead := w.deadLetters(t); len(dead) != 3 {
		t.Errorf("%d dead letters after the crash, want both and the new one", len(dead))
	}
	if got, want := outcomes(w.redrive(t, sequences...)), []streams.Outcome{streams.OutcomeRedriven, streams.OutcomeRefused}; !slices.Equal(got, want) {
		t.Errorf("the repeat: %v", got)
	}
	if got := w.readings(t); !slices.Equal(got, []string{"redrive hall/d/m 1"}) {
		t.Errorf("readings after the repeat: %q", got)
	}
	dead := w.deadLetters(t)
	if len(dead) != 1 || dead[0].Reason != streams.ReasonValue {
		t.Errorf("dead letters after the repeat: %+v", dead)
	}
}

// TestRedriveOfAFullStream keeps the letter while there is no room for its
// readings.
func TestRedriveOfAFullStream(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	seq := w.letter(t, "sensors/hall/d/m", "1")
	s, err := w.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	full := cfg
	full.MaxBytes = 1
	if _, err := w.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(w.redrive(t, seq)); !slices.Equal(got, []streams.Outcome{streams.OutcomeFailed}) {
		t.Errorf("without room: %v", got)
	}
	if dead := w.deadLetters(t); len(dead) != 1 {
		t.Fatalf("the letter was not kept: %+v", dead)
	}
	if _, err := w.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the letter is redriven when there is room", func() bool {
		return slices.Equal(outcomes(w.redrive(t, seq)), []streams.Outcome{streams.OutcomeRedriven})
	})
}

func TestRedriveRefusesOddRequests(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	for _, body := range []string{"", "{}", "[]", `{"sequences":[-1]}`} {
		if a := w.request(t, streams.RedriveSubject(streams.ServiceBridge), []byte(body)); a.Error == "" || len(a.Results) > 0 {
			t.Errorf("%q: %+v", body, a)
		}
	}
	if a := w.redrive(t, make([]uint64, streams.MaxRedrive+1)...); !strings.Contains(a.Error, "501 letters") {
		t.Errorf("too many: %+v", a)
	}
}
