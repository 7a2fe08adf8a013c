package dashboard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/proto/figure"
	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/web/deadletters"
	"headwater/web/view"
)

const (
	// redriveWithin bounds the redrive of one service; the service itself gives
	// up a little earlier.
	redriveWithin = 25 * time.Second
	// redriveMost bounds the letters of one call of Redrive.
	redriveMost = streams.MaxRedrive
	// purgeWithin bounds a purge, which may touch many files.
	purgeWithin = 25 * time.Second
)

// stream looks up the stream of dead letters.
func (d *deadLetters) stream(ctx context.Context) (jetstream.Stream, error) {
	if d.js.Conn().Status() != nats.CONNECTED {
		return nil, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	stream, err := d.js.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return stream, nil
}

// DeadLetter implements deadletters.Source.
func (d *deadLetters) DeadLetter(ctx context.Context, sequence uint64) (deadletters.Letter, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	stream, err := d.stream(ctx)
	if err != nil {
		return deadletters.Letter{}, err
	}
	msg, err := stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return deadletters.Letter{}, view.ErrNotFound
	}
	if err != nil {
		return deadletters.Letter{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return letter(msg), nil
}

// Redrive implements deadletters.Source: it asks the services that the letters belong
// to. It reports the outcome of each letter, even if a service does not answer.
func (d *deadLetters) Redrive(ctx context.Context, s deadletters.Selection) (deadletters.Redrive, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin+redriveWithin)
	defer cancel()
	letters, next, err := d.selected(ctx, s)
	if err != nil {
		return deadletters.Redrive{}, err
	}
	outcomes := make(map[uint64]deadletters.Redriven, len(letters))
	asked := make(map[string][]uint64)
	for _, l := range letters {
		service, why, err := streams.ParseDeadLetter(l.subject)
		if err != nil {
			service, why = "unknown", streams.ReasonMalformed
		}
		if refusal := streams.NotRedrivable(service, why); refusal != "" {
			outcomes[l.sequence] = deadletters.Redriven{Outcome: deadletters.OutcomeKept, Detail: "it cannot be redriven: " + refusal}
			continue
		}
		asked[service] = append(asked[service], l.sequence)
	}
	var failure error
	for service, sequences := range asked {
		results, err := d.ask(ctx, service, sequences)
		if err != nil {
			failure = err
		}
		for _, r := range results {
			outcomes[r.Sequence] = deadletters.Redriven{Outcome: string(r.Outcome), Readings: r.Readings, Reason: r.Reason, Detail: r.Detail}
		}
	}
	if failure != nil && len(outcomes) == 0 {
		d.changes.record(ctx, audit.Entry{Action: audit.LettersRedrive, Object: selectionWords(s)}, failure)
		return deadletters.Redrive{}, failure
	}
	out := deadletters.Redrive{Next: next}
	if s.Sequence != 0 && len(letters) == 0 {
		out.Add(deadletters.Redriven{Sequence: s.Sequence, Outcome: deadletters.OutcomeGone, Detail: "there is no such letter"})
	}
	for _, l := range letters {
		outcome, ok := outcomes[l.sequence]
		if !ok {
			outcome = deadletters.Redriven{Outcome: deadletters.OutcomeFailed, Detail: "there was no answer for it"}
			if failure != nil {
				outcome.Detail = failure.Error()
			}
		}
		outcome.Sequence = l.sequence
		out.Add(outcome)
	}
	d.changes.record(ctx, audit.Entry{
		Action: audit.LettersRedrive, Object: selectionWords(s),
		Detail: fmt.Sprintf("%d redriven, %d refused again, %d kept, %d failed, %d gone", out.Redriven, out.Refused, out.Kept, out.Failed, out.Gone),
	}, nil)
	d.log.Info("redrove dead letters", "redriven", out.Redriven, "refused", out.Refused, "kept", out.Kept, "failed", out.Failed)
	return out, nil
}

// selectionWords names the letters that a person selected.
func selectionWords(s deadletters.Selection) string {
	if s.Sequence != 0 {
		return fmt.Sprintf("№ %d", s.Sequence)
	}
	words := fmt.Sprintf("up to № %d", s.Through)
	for _, p := range []string{s.Reason, s.Service} {
		if p != "" {
			words = p + ", " + words
		}
	}
	return words
}

// selected returns the selected letters, the oldest first, and where the rest begins
// if there are too many.
func (d *deadLetters) selected(ctx context.Context, s deadletters.Selection) (letters []found, next uint64, err error) {
	stream, err := d.stream(ctx)
	if err != nil {
		return nil, 0, err
	}
	if s.Sequence != 0 {
		msg, err := stream.GetMsg(ctx, s.Sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, 0, nil
		case err != nil:
			return nil, 0, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
		one := foundIn(msg.Sequence, msg.Subject, msg.Header)
		if !(letterFilter{sites: s.Sites}).hasSite(one) {
			return nil, 0, nil
		}
		return []found{one}, 0, nil
	}
	begin := max(s.From, stream.CachedInfo().State.FirstSeq)
	if begin > s.Through || begin > stream.CachedInfo().State.LastSeq {
		return nil, 0, nil
	}
	letters, err = d.between(ctx, letterFilter{s.Service, s.Reason, s.Sites}, begin, after(s.Through), redriveMost+1)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	if len(letters) > redriveMost {
		next = letters[redriveMost].sequence
		letters = letters[:redriveMost]
	}
	return letters, next, nil
}

// after returns the sequence that follows.
func after(sequence uint64) uint64 {
	if sequence == math.MaxUint64 {
		return sequence
	}
	return sequence + 1
}

// ask lets one service redrive its letters.
func (d *deadLetters) ask(ctx context.Context, service string, sequences []uint64) ([]streams.Redriven, error) {
	subject, body, err := streams.RedriveRequest{Sequences: sequences}.Msg(service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redriveWithin)
	defer cancel()
	m, err := d.js.Conn().RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w: no %s runs that could redrive its letters", view.ErrUnavailable, service)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return nil, fmt.Errorf("%w: the %s gave no answer within %s; look which letters are left", view.ErrUnavailable, service, figure.Duration(redriveWithin))
	case err != nil:
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	answer, err := streams.DecodeRedriveAnswer(m.Data)
	if err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("the %s did not redrive: %s", service, answer.Error)
	}
	return answer.Results, nil
}

// Purge implements deadletters.Source.
func (d *deadLetters) Purge(ctx context.Context, s deadletters.Selection) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeWithin)
	defer cancel()
	stream, err := d.stream(ctx)
	if err != nil {
		return 0, err
	}
	n, err := d.purge(ctx, stream, s)
	if errors.Is(err, view.ErrNotFound) {
		return 0, err
	}
	d.changes.record(ctx, audit.Entry{Action: audit.LettersPurge, Object: selectionWords(s), Detail: figure.Plural(n, "letter", "letters")}, err)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	d.log.Info("purged dead letters", "purged", n, "by_service", s.Service, "by_reason", s.Reason, "seq", s.Sequence, "through", s.Through)
	return n, nil
}

func (d *deadLetters) purge(ctx context.Context, stream jetstream.Stream, s deadletters.Selection) (uint64, error) {
	if s.Sequence != 0 {
		if _, err := stream.GetMsg(ctx, s.Sequence); errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, view.ErrNotFound
		}
		return 1, stream.DeleteMsg(ctx, s.Sequence)
	}
	filter := streams.DeadLetterFilter(s.Service, s.Reason)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for _, count := range info.State.Subjects {
		n += count
	}
	through := min(s.Through, info.State.LastSeq)
	if through < info.State.LastSeq {
		newer, err := d.between(ctx, letterFilter{service: s.Service, reason: s.Reason}, after(through), after(info.State.LastSeq), 0)
		if err != nil {
			return 0, err
		}
		n -= min(n, uint64(len(newer)))
	}
	if n == 0 {
		return 0, nil
	}
	return n, stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(after(through)))
}
