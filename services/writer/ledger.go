package writer

import (
	"context"
	"errors"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/writer/point"
	"headwater/streams"
)

// encodeLedger returns the ledger entries of a commit, one line each. The key of an
// entry is the last message that it counts, which no other entry of the lane has, plus
// the time at which the commit's input was stored. Both grow from commit to commit. When
// TELEMETRY loses its end, the sequences start again from an earlier one, and the time
// keeps the new entries from replacing the old.
func encodeLedger(c *derivedv1.Commit) *lines {
	l := new(lines)
	stored := uint64(c.GetInput().GetStored())
	for _, e := range c.GetLedger() {
		l.text = point.AppendEntry(l.text, &point.Entry{
			Site: e.GetSite(), Device: e.GetDevice(), Source: e.GetSource(), Minute: e.GetMinute(),
			Key:      e.GetLast() + stored,
			Readings: e.GetReadings(), Rejected: e.GetRejected(), Missing: e.GetMissing(),
			Conflicts: e.GetConflicts(), Last: e.GetLast(),
		})
		l.end()
	}
	return l
}

// keysPerMessage is more than the readings of a message, so that each has its own key.
const keysPerMessage = 4096

// refused records in the ledger that InfluxDB refused a reading. It is called before
// the dead letter is stored, and a repeat replaces itself.
func (s *Service) refused(ctx, hard context.Context, of point.Entry) error {
	line := string(point.AppendRefusal(nil, &of))
	err := s.gate(s.cfg.ledger()).do(ctx, hard, func(ctx context.Context) error {
		return s.write(ctx, s.cfg.ledger(), []byte(line))
	})
	var refusal *influx.Error
	if err == nil || errors.Is(err, errStopping) || !errors.As(err, &refusal) || hard.Err() != nil {
		return err
	}
	// InfluxDB refuses the entry too. The dead letter still shows the reading.
	s.log.Error("InfluxDB refused an entry of the ledger, which will not close", "device", of.Site+"/"+of.Device, "err", err)
	return nil
}

// entryOf returns the ledger entry of one reading of a message of TELEMETRY, which was
// stored at a time in nanoseconds since the Unix epoch. The time is part of the key, as
// in encodeLedger.
func entryOf(d streams.DeadLetter, sequence uint64, stored int64, index int) point.Entry {
	e := point.Entry{Site: d.Site, Device: d.Device, Key: sequence*keysPerMessage + uint64(index) + uint64(stored)}
	if _, source, err := streams.ParseTelemetry(d.Origin); err == nil {
		e.Source = string(source)
	}
	arrived := d.Arrived.UnixNano()
	e.Minute = arrived - (arrived%minute+minute)%minute
	return e
}

const minute = int64(60e9)
