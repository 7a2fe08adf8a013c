package functions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// stored is the commit of a function, as JSON.
type stored struct {
	// Version is the one that made it.
	Version int `json:"version"`
	// Place is the last message of the input that it covers.
	Place uplink.Place `json:"place"`
	// State is what the function keeps.
	State map[string][]byte `json:"state,omitempty"`
	// Outputs are batches by lane, and Letters dead letters, which are stored once the
	// commit is.
	Outputs map[int][]byte `json:"outputs,omitempty"`
	Letters []letter       `json:"letters,omitempty"`
	// Trigger is what the place is of; empty for readings.
	Trigger function.Trigger `json:"trigger,omitempty"`
	// Answered are the latest requests with a key.
	Answered []answered `json:"answered,omitempty"`
}

// answered is a request with a key and its reply, for when it comes again.
type answered struct {
	Key   string         `json:"key"`
	Reply contract.Reply `json:"reply"`
}

// Bounds of the requests whose replies are kept. Bytes are those of the replies.
const (
	maxAnswered      = 64
	maxAnsweredBytes = 256 << 10
)

// letter is the input of a call that failed.
type letter struct {
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
	Site    string `json:"site,omitempty"`
	Device  string `json:"device,omitempty"`
	Arrived int64  `json:"arrived"`
	Input   []byte `json:"input"`
}

// record is the commit of a function with its revision. It is for one goroutine.
type record struct {
	s      *Service
	bucket jetstream.KeyValue
	name   string
	lanes  int
	// trigger is what at is the place of, and always is set if every step is committed: a
	// time of a schedule must not come again.
	trigger function.Trigger
	always  bool
	// answered, if there is one, is kept with the next commit.
	answered *answered
	// at is the place of the last commit in the stream as it is now.
	at       streams.Place
	state    *state
	last     stored
	revision uint64
	// ends are the ends of the subjects of the lanes, as far as they are known.
	ends map[int]end
}

// end is the end of the subject of one lane.
type end struct {
	// last is the sequence of its last message, 0 for none, and place the origin of that.
	last  uint64
	place uplink.Place
}

// loadRecord reads the last commit of a function.
func loadRecord(ctx context.Context, s *Service, bucket jetstream.KeyValue, name string, trigger function.Trigger, lanes int) (*record, error) {
	r := &record{s: s, bucket: bucket, name: name, lanes: lanes, trigger: trigger, always: trigger == function.Schedule, ends: make(map[int]end)}
	var err error
	if r.revision, err = function.Read(ctx, bucket, streams.FunctionRecordKey(name), &r.last); err != nil {
		return nil, err
	}
	r.state = newState(r.last.State)
	if cmp.Or(r.last.Trigger, function.Readings) == trigger {
		r.at = streams.Place(r.last.Place)
	}
	return r, nil
}

// commit stores what a step has done: first all of it in one value, then each part where it
// belongs. A step that did nothing stores nothing.
func (r *record) commit(ctx context.Context, place streams.Place, outputs []contract.Reading, letters []letter, version int) error {
	if len(outputs) == 0 && len(letters) == 0 && !r.state.changed && !r.always && r.answered == nil {
		return nil
	}
	next := stored{
		Version: version, Place: uplink.Place(place), Trigger: r.trigger, State: r.state.values, Letters: letters, Outputs: make(map[int][]byte),
		Answered: r.keep(),
	}
	for lane, b := range batchOf(outputs, r.lanes, time.Now(), place) {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
		if err != nil {
			return fmt.Errorf("encode the outputs of %s: %w", r.name, err)
		}
		next.Outputs[lane] = data
	}
	body, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode the commit of %s: %w", r.name, err)
	}
	key := streams.FunctionRecordKey(r.name)
	var revision uint64
	if r.revision == 0 {
		revision, err = r.bucket.Create(ctx, key, body)
	} else {
		revision, err = r.bucket.Update(ctx, key, body, r.revision)
	}
	if err != nil {
		return fmt.Errorf("commit of %s: %w", r.name, err)
	}
	r.last, r.revision, r.at, r.state.changed, r.answered = next, revision, place, false, nil
	return r.publish(ctx)
}

// keep returns the requests whose replies are kept with the next commit, the newest last.
func (r *record) keep() []answered {
	all := slices.Clone(r.last.Answered)
	if r.answered != nil {
		all = append(all, *r.answered)
	}
	size, from := 0, len(all)
	for from > 0 && len(all)-from < maxAnswered && size+len(all[from-1].Reply.Body) <= maxAnsweredBytes {
		from--
		size += len(all[from].Reply.Body)
	}
	return all[from:]
}

// publish stores the outputs and the dead letters of the last commit, as far as they are not
// stored.
func (r *record) publish(ctx context.Context) error {
	for lane, data := range r.last.Outputs {
		if err := r.put(ctx, lane, data); err != nil {
			return err
		}
	}
	for _, l := range r.last.Letters {
		err := r.s.letters.Publish(ctx, streams.DeadLetter{
			Service: streams.ServiceFunctions, Reason: l.Reason, Detail: r.name + ": " + l.Detail,
			Origin: r.name, Site: l.Site, Device: l.Device, Arrived: time.Unix(0, l.Arrived), Payload: l.Input,
		})
		if err != nil {
			return err
		}
	}
	r.last.Outputs, r.last.Letters = nil, nil
	return nil
}

// putAttempts bounds how often outputs are tried after another one wrote at the same time.
const putAttempts = 3

// put stores the outputs of one lane once.
func (r *record) put(ctx context.Context, lane int, data []byte) error {
	subject := streams.TelemetrySubject(lane, streams.FunctionSource(r.name))
	for range putAttempts {
		at, known := r.ends[lane]
		if !known {
			var err error
			if at, err = r.endOf(ctx, subject); err != nil {
				return err
			}
			r.ends[lane] = at
		}
		if at.place.Covers(r.last.Place) {
			return nil
		}
		msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(at.last, 10)}}}
		ack, err := r.s.js.PublishMsg(ctx, msg)
		if err == nil {
			r.ends[lane] = end{ack.Sequence, r.last.Place}
			return nil
		}
		// It may be stored all the same.
		delete(r.ends, lane)
		if !streams.IsConflict(err) {
			return fmt.Errorf("store the outputs of %s: %w", r.name, err)
		}
	}
	return fmt.Errorf("store the outputs of %s: others write them too", r.name)
}

func (r *record) endOf(ctx context.Context, subject string) (end, error) {
	stream, err := r.s.js.Stream(ctx, streams.StreamTelemetry)
	if err != nil {
		return end{}, fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	// A copy of the stream may lag behind its leader.
	stream.CachedInfo().Config.AllowDirect = false
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return end{}, nil
	}
	if err != nil {
		return end{}, fmt.Errorf("read the last message on %s: %w", subject, err)
	}
	b, err := streams.DecodeTelemetry(last.Data)
	if err != nil {
		return end{}, fmt.Errorf("last message on %s: %w", subject, err)
	}
	o := b.GetOrigin()
	return end{last.Sequence, uplink.Place{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Stored: o.GetStored()}}, nil
}

// newLetter is the dead letter of a failed call.
func newLetter(f *failure, trigger function.Trigger, in []contract.Reading) letter {
	l := letter{Reason: f.Reason, Detail: f.Detail, Input: contract.Append(nil, trigger, in)}
	l.Site, l.Device = in[0].Site, in[0].Device
	for i := range in {
		l.Arrived = max(l.Arrived, in[i].Time)
		if in[i].Device != l.Device || in[i].Site != l.Site {
			l.Site, l.Device = "", ""
		}
	}
	return l
}
