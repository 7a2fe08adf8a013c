package writer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
)

// Config says where the history goes and how it is batched.
type Config struct {
	Influx influx.Config `embed:"" prefix:"influx-"`

	BatchPoints   int           `name:"writer-batch" help:"Points of one request to InfluxDB." default:"5000"`
	FlushInterval time.Duration `name:"writer-flush" help:"How long points may wait for their request to fill." default:"250ms"`
	InFlight      int           `name:"writer-in-flight" help:"Requests with readings that may run at once." default:"2"`

	RetentionRaw    time.Duration `name:"retention-raw" help:"How long new databases keep readings; 0 keeps them forever." default:"2160h"`
	RetentionFine   time.Duration `name:"retention-10s" help:"The same for summaries of ten seconds." default:"720h"`
	RetentionMinute time.Duration `name:"retention-1m" help:"The same for the roll-up to minutes." default:"8760h"`
	RetentionHour   time.Duration `name:"retention-1h" help:"The same for the roll-up to hours." default:"43800h"`
	RetentionDay    time.Duration `name:"retention-1d" help:"The same for the roll-up to days." default:"0"`
	RetentionOther  time.Duration `name:"retention-windows" help:"The same for summaries of all other windows." default:"8760h"`
	RetentionLedger time.Duration `name:"retention-ledger" help:"The same for the ledger, which accounts for every reading." default:"2160h"`
}

// DefaultConfig returns the defaults: 90 days of readings, 30 days of windows of
// ten seconds, a year of minutes and of other windows, five years of hours, and
// days forever.
func DefaultConfig() Config { return process.Defaults[Config]() }

// maxInFlight is what a small computer can bear: each request in flight holds a batch
// in memory.
const maxInFlight = 16

// minRetention is the shortest retention that InfluxDB accepts.
const minRetention = time.Hour

// Validate returns all that is wrong with the configuration, joined.
func (c Config) Validate() error {
	errs := []error{c.Influx.Validate()}
	between := func(flag string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("--%s must be from %d to %d, not %d", flag, low, high, v))
		}
	}
	between("writer-batch", c.BatchPoints, 1, 100_000)
	between("writer-in-flight", c.InFlight, 1, maxInFlight)
	if c.FlushInterval < time.Millisecond || c.FlushInterval > 10*time.Second {
		errs = append(errs, fmt.Errorf("--writer-flush must be from 1ms to 10s, not %v", c.FlushInterval))
	}
	retention := func(flag string, v time.Duration) {
		if v != 0 && v < minRetention {
			errs = append(errs, fmt.Errorf("--%s must be 0 or at least %v, not %v", flag, minRetention, v))
		}
	}
	retention("retention-raw", c.RetentionRaw)
	retention("retention-10s", c.RetentionFine)
	retention("retention-1m", c.RetentionMinute)
	retention("retention-1h", c.RetentionHour)
	retention("retention-1d", c.RetentionDay)
	retention("retention-windows", c.RetentionOther)
	retention("retention-ledger", c.RetentionLedger)
	return errors.Join(errs...)
}

// raw is the policy of the readings, and others the policy of windows that have no
// policy of their own.
const (
	raw    = "raw"
	others = "windows"
)

// buckets returns all buckets that the writer writes to, except the ledger.
func (c Config) buckets() []influx.Bucket {
	all := []influx.Bucket{
		{Policy: raw, Retention: c.RetentionRaw},
		{Policy: "10s", Retention: c.RetentionFine},
		{Policy: "1m", Retention: c.RetentionMinute},
		{Policy: "1h", Retention: c.RetentionHour},
		{Policy: "1d", Retention: c.RetentionDay},
		{Policy: others, Retention: c.RetentionOther},
	}
	for i := range all {
		all[i].Database = c.Influx.Database
	}
	return all
}

// bucket returns the bucket of a policy.
func (c Config) bucket(policy string) influx.Bucket {
	all := c.buckets()
	return all[slices.IndexFunc(all, func(b influx.Bucket) bool { return b.Policy == policy })]
}

// ledger returns the bucket of the ledger.
func (c Config) ledger() influx.Bucket {
	return influx.Bucket{Database: c.Influx.Database, Policy: influx.PolicyLedger, Retention: c.RetentionLedger}
}

// policyOf returns the policy that a summary belongs to, and the tag that distinguishes
// its window from others in it.
func policyOf(s *derivedv1.WindowSummary) (policy, tag string) {
	name := s.GetWindow()
	if name == "" { // from an earlier version, which had no names
		name = map[time.Duration]string{10 * time.Second: "10s", time.Minute: "1m"}[time.Duration(s.GetWidth())]
	}
	switch name {
	case "10s", "1m", "1h", "1d":
		return name, ""
	default:
		return others, name
	}
}
