package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/config"
	"headwater/streams"
	"headwater/web/deadletters"
	"headwater/web/view"
)

// deadLetters implements deadletters.Source on the stream of dead letters.
type deadLetters struct {
	js  jetstream.JetStream
	log *slog.Logger
	// changes takes the changes that people make here.
	changes recorder
	// config returns the configuration in force, or nil.
	config func() *config.Config
}

// firstReach is how many messages the first search for matching letters goes back;
// each further search goes twice as far.
const firstReach = 256

// DeadLetters implements deadletters.Source. It finds the newest letters by searching
// back further and further; it reads only headers until the page is known.
func (d *deadLetters) DeadLetters(ctx context.Context, q deadletters.Query) (deadletters.Letters, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if d.js.Conn().Status() != nats.CONNECTED {
		return deadletters.Letters{}, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	out, err := d.page(ctx, q)
	if err != nil {
		return out, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return out, nil
}

func (d *deadLetters) page(ctx context.Context, q deadletters.Query) (deadletters.Letters, error) {
	var out deadletters.Letters
	stream, err := d.js.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return out, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(streams.DeadLettersAll))
	if err != nil {
		return out, err
	}
	out.Total = info.State.Msgs
	out.Last = info.State.LastSeq
	out.Counts = counts(info.State.Subjects)
	if len(q.Sites) > 0 {
		if out.Counts, out.Total, err = d.countOf(ctx, q.Sites); err != nil {
			return out, err
		}
	}
	sequences, more, err := d.find(ctx, q, info.State)
	if err != nil {
		return out, err
	}
	for _, seq := range sequences {
		msg, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it expired in between
		}
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, letter(msg))
	}
	if more && len(sequences) > 0 {
		out.Next = sequences[len(sequences)-1]
	}
	return out, nil
}

// letter is a message as the page shows it.
func letter(msg *jetstream.RawStreamMsg) deadletters.Letter {
	l, err := streams.ParseDeadLetterMsg(msg.Subject, msg.Header, msg.Data)
	if err != nil {
		l = streams.DeadLetter{Service: "unknown", Reason: streams.ReasonMalformed, Detail: err.Error(), Origin: msg.Subject, Arrived: msg.Time, Payload: msg.Data}
	}
	return deadletters.Letter{
		Sequence: msg.Sequence, Service: l.Service, Reason: l.Reason, Detail: l.Detail, From: l.Origin,
		Site: l.Site, Device: l.Device, Arrived: l.Arrived, Payload: l.Payload, Size: len(l.Payload),
	}
}

func counts(subjects map[string]uint64) []deadletters.Count {
	var out []deadletters.Count
	for subject, n := range subjects {
		service, reason, err := streams.ParseDeadLetter(subject)
		if err != nil {
			continue
		}
		out = append(out, deadletters.Count{Service: service, Reason: reason, Count: n})
	}
	slices.SortFunc(out, func(a, b deadletters.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Service, b.Service), strings.Compare(a.Reason, b.Reason))
	})
	return out
}

// maxCounted bounds the latest letters among which those of sites are counted.
const maxCounted = 20_000

// countOf counts the letters of sites.
func (d *deadLetters) countOf(ctx context.Context, sites []string) ([]deadletters.Count, uint64, error) {
	letters, err := d.latest(ctx, letterFilter{sites: sites}, maxCounted)
	if err != nil {
		return nil, 0, err
	}
	bySubject := make(map[string]uint64)
	for _, l := range letters {
		bySubject[l.subject]++
	}
	return counts(bySubject), uint64(len(letters)), nil
}

// find returns the sequences of a page, the newest first, and whether there are
// older letters.
func (d *deadLetters) find(ctx context.Context, q deadletters.Query, state jetstream.StreamState) (sequences []uint64, more bool, err error) {
	end := state.LastSeq + 1 // exclusive
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	for reach := uint64(firstReach); state.Msgs > 0 && end > state.FirstSeq && len(sequences) <= q.Size; reach *= 2 {
		begin := state.FirstSeq
		if end-begin > reach {
			begin = end - reach
		}
		part, err := d.between(ctx, letterFilter{q.Service, q.Reason, q.Sites}, begin, end, 0)
		if err != nil {
			return nil, false, err
		}
		for _, f := range slices.Backward(part) {
			sequences = append(sequences, f.sequence)
		}
		end = begin
	}
	if len(sequences) > q.Size {
		return sequences[:q.Size], true, nil
	}
	return sequences, false, nil
}

// found is the position of a letter and its subject, with what its headers say.
type found struct {
	sequence     uint64
	subject      string
	site, device string
	arrived      time.Time
}

// foundIn returns a letter as it is found.
func foundIn(sequence uint64, subject string, header nats.Header) found {
	l, err := streams.ParseDeadLetterMsg(subject, header, nil)
	if err != nil {
		return found{sequence: sequence, subject: subject}
	}
	return found{sequence, subject, l.Site, l.Device, l.Arrived}
}

// letterFilter selects letters. Empty parts match any.
type letterFilter struct {
	service, reason string
	sites           []string
}

// hasSite reports whether a letter is of one of the sites.
func (f letterFilter) hasSite(l found) bool {
	return len(f.sites) == 0 || slices.Contains(f.sites, l.site)
}

// latest returns the matching letters among the latest ones, the oldest first.
func (d *deadLetters) latest(ctx context.Context, f letterFilter, reach uint64) ([]found, error) {
	stream, err := d.stream(ctx)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	begin := state.FirstSeq
	if end := state.LastSeq + 1; end-min(end, begin) > reach {
		begin = end - reach
	}
	letters, err := d.between(ctx, f, begin, state.LastSeq+1, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return letters, nil
}

// between returns the matching letters in [begin, end), the oldest first; at most
// the given number if it is not 0.
func (d *deadLetters) between(ctx context.Context, f letterFilter, begin, end uint64, most int) ([]found, error) {
	consumer, err := d.js.CreateConsumer(ctx, streams.StreamDeadLetters, jetstream.ConsumerConfig{
		FilterSubject: streams.DeadLetterFilter(f.service, f.reason), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(begin, 1),
		HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 2 * callWithin,
	})
	if err != nil {
		return nil, err
	}
	info := consumer.CachedInfo()
	defer func() { // otherwise it is removed when it has been idle
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callWithin)
		defer cancel()
		_ = d.js.DeleteConsumer(ctx, streams.StreamDeadLetters, info.Name)
	}()
	var out []found
	for pending := info.NumPending; pending > 0; {
		batch, err := consumer.FetchNoWait(500)
		if err != nil {
			return nil, err
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			meta, err := msg.Metadata()
			if err != nil {
				return nil, err
			}
			if meta.Sequence.Stream >= end || most > 0 && len(out) == most {
				return out, nil
			}
			if l := foundIn(meta.Sequence.Stream, msg.Subject(), msg.Headers()); f.hasSite(l) {
				out = append(out, l)
			}
			pending = meta.NumPending
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
		if got == 0 {
			return out, nil
		}
	}
	return out, nil
}
