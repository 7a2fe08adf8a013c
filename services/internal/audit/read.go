package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Query selects entries, the newest first.
type Query struct {
	// Who, Action and Text select; empty means all. Who and Action must be equal, Text
	// is contained in any text of the entry, in either case.
	Who, Action, Text string
	// Before is the sequence below which the entries begin; 0 means the newest.
	Before uint64
	// Size is how many entries are returned at most.
	Size int
}

// Stored is an entry as the stream has it.
type Stored struct {
	Entry
	Sequence uint64
	// Service is the service that wrote it.
	Service string
}

// Found are the entries of one query.
type Found struct {
	Entries []Stored
	// Next is the Before of a query that continues; 0 when there is nothing more.
	Next uint64
}

const (
	// firstReach is how many messages the first step back reads; each further step reads
	// twice as many, up to maxReach.
	firstReach = 64
	maxReach   = 2048
	// maxRead bounds the messages that one query reads. A query that finds less than its
	// size among them continues with the next page.
	maxRead = 20_000
	// idle is when the server removes a consumer that was left behind.
	idle = 30 * time.Second
)

// Read answers a query. It reads backwards until it has enough.
func Read(ctx context.Context, js jetstream.JetStream, q Query) (Found, error) {
	stream, err := js.Stream(ctx, streams.StreamAudit)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Found{}, nil // nothing has been recorded yet
	}
	if err != nil {
		return Found{}, fmt.Errorf("look up stream %s: %w", streams.StreamAudit, err)
	}
	state := stream.CachedInfo().State
	end := state.LastSeq + 1 // exclusive
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	var out Found
	read, reach := uint64(0), uint64(firstReach)
	for state.Msgs > 0 && end > state.FirstSeq {
		if read >= maxRead {
			out.Next = end
			return out, nil
		}
		begin := max(state.FirstSeq, end-min(end, reach))
		part, err := between(ctx, js, begin, end)
		if err != nil {
			return Found{}, fmt.Errorf("read stream %s: %w", streams.StreamAudit, err)
		}
		for _, e := range slices.Backward(part) {
			if !q.selects(e) {
				continue
			}
			if len(out.Entries) == q.Size {
				out.Next = out.Entries[q.Size-1].Sequence
				return out, nil
			}
			out.Entries = append(out.Entries, e)
		}
		read, reach, end = read+end-begin, min(2*reach, maxReach), begin
	}
	return out, nil
}

func (q Query) selects(e Stored) bool {
	if q.Who != "" && e.Who != q.Who || q.Action != "" && string(e.Action) != q.Action {
		return false
	}
	text := strings.Join([]string{e.Who, e.From, string(e.Action), e.Object, string(e.Result), e.Detail, e.Before, e.After}, "\n")
	return strings.Contains(strings.ToLower(text), strings.ToLower(q.Text))
}

// between returns the entries with sequences in [begin, end), the oldest first.
func between(ctx context.Context, js jetstream.JetStream, begin, end uint64) ([]Stored, error) {
	consumer, err := js.CreateConsumer(ctx, streams.StreamAudit, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(begin, 1),
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: idle,
	})
	if err != nil {
		return nil, err
	}
	defer func() { // otherwise the server removes it when it has been idle
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		_ = js.DeleteConsumer(ctx, streams.StreamAudit, consumer.CachedInfo().Name)
	}()
	var out []Stored
	for pending := consumer.CachedInfo().NumPending; pending > 0; {
		batch, err := consumer.FetchNoWait(firstReach)
		if err != nil {
			return nil, err
		}
		got := false
		var failed error
		// The batch is read to its end, or nats.go would keep waiting for the rest.
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			switch {
			case err != nil:
				failed = err
			case meta.Sequence.Stream >= end:
				pending = 0
			default:
				got, pending = true, meta.NumPending
				out = append(out, decode(msg, meta))
			}
		}
		if err := errors.Join(failed, batch.Error()); err != nil {
			return nil, err
		}
		if !got {
			break
		}
	}
	return out, nil
}

// decode returns a message as an entry. What cannot be read is shown as such, not left
// out.
func decode(msg jetstream.Msg, meta *jetstream.MsgMetadata) Stored {
	out := Stored{Sequence: meta.Sequence.Stream}
	service, err := streams.ParseAudit(msg.Subject())
	if err == nil {
		err = json.Unmarshal(msg.Data(), &out.Entry)
	}
	if err != nil {
		out.Entry = Entry{Who: "unknown", Action: "unreadable", Result: Failed, Detail: err.Error()}
	}
	if out.At.IsZero() {
		out.At = meta.Timestamp
	}
	out.Service, out.Entry = service, out.clean()
	return out
}
