package writer

import (
	"context"
	"errors"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/writer/point"
	"headwater/streams"
)

// encodeLedger returns the entries of the ledger in a commit, one line each.
func encodeLedger(c *derivedv1.Commit) *lines {
	l := new(lines)
	for _, e := range c.GetLedger() {
		l.text = point.AppendEntry(l.text, &point.Entry{
			Site: e.GetSite(), Device: e.GetDevice(), Source: e.GetSource(), Minute: e.GetMinute(),
			// What is counted together ends with a message that no entry before has.
			Key:      e.GetLast(),
			Readings: e.GetReadings(), Rejected: e.GetRejected(), Missing: e.GetMissing(),
			Conflicts: e.GetConflicts(), Last: e.GetLast(),
		})
		l.end()
	}
	return l
}

// keysPerMessage is more than the readings that a message has, so that each has
// a key of its own.
const keysPerMessage = 4096

// refused notes in the ledger that InfluxDB refused a reading. It is done before
// the dead letter is stored, and a repeat replaces itself.
func (s *Service) refused(stop, work context.Context, of point.Entry) error {
	line := string(point.AppendRefusal(nil, &of))
	err := s.gate(s.cfg.ledger()).do(stop, work, func(ctx context.Context) error {
		return s.write(ctx, s.cfg.ledger(), []byte(line))
	})
	var refusal *influx.Error
	if err == nil || errors.Is(err, errStopping) || !errors.As(err, &refusal) || work.Err() != nil {
		return err
	}
	// InfluxDB does not want that either. The dead letter still tells.
	s.log.Error("InfluxDB refused an entry of the ledger, which will not close", "device", of.Site+"/"+of.Device, "err", err)
	return nil
}

// entryOf returns the key in the ledger of one reading of a message.
func entryOf(d streams.DeadLetter, sequence uint64, index int) point.Entry {
	e := point.Entry{Site: d.Site, Device: d.Device, Key: sequence*keysPerMessage + uint64(index)}
	if _, source, err := streams.ParseTelemetry(d.Origin); err == nil {
		e.Source = string(source)
	}
	arrived := d.Arrived.UnixNano()
	e.Minute = arrived - (arrived%minute+minute)%minute
	return e
}

const minute = int64(60e9)
