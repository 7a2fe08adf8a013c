package function

import "time"

// MaxLog is how many lines of a function's log are kept.
const MaxLog = 100

// MaxDifferences is how many differences of a shadow are kept.
const MaxDifferences = 5

// Status is what the service says of a function.
type Status struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	// Problem says why the live version does not run; empty while it does.
	Problem string `json:"problem,omitempty"`
	Counts
	// Waiting is how many messages of readings the function has not had yet.
	Waiting uint64 `json:"waiting"`
	// Skipped counts messages that were removed for lack of room before the function had
	// them, and those of other functions among them.
	Skipped uint64    `json:"skipped,omitempty"`
	Log     []Line    `json:"log,omitempty"`
	Shadow  *Shadowed `json:"shadow,omitempty"`
}

// Counts are of one version, since it runs.
type Counts struct {
	Calls    uint64 `json:"calls"`
	Readings uint64 `json:"readings"`
	Outputs  uint64 `json:"outputs"`
	// Failures are failed calls by reason.
	Failures map[string]uint64 `json:"failures,omitempty"`
	// P50 and P99 are of the latest calls. Busy is the time in all calls.
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	Busy time.Duration `json:"busy"`
	// Memory is what its instance has, in bytes.
	Memory uint64 `json:"memory"`
	// Last is the latest failure.
	Last *Failed `json:"last,omitempty"`
}

// Failed is a failed call.
type Failed struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
}

// Line is a line of a function's log.
type Line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Shadowed is what the comparison of a shadow with the live version says.
type Shadowed struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	Problem string    `json:"problem,omitempty"`
	Counts
	// Same and Different count calls.
	Same      uint64       `json:"same"`
	Different uint64       `json:"different"`
	Latest    []Difference `json:"latest,omitempty"`
}

// Difference is a call for which the two versions said something else. Live and Shadow are
// the first reading that only one of them has, or how it failed; empty for nothing.
type Difference struct {
	At     time.Time `json:"at"`
	Live   string    `json:"live,omitempty"`
	Shadow string    `json:"shadow,omitempty"`
}

// Failed returns the number of failed calls.
func (c Counts) Failed() uint64 {
	var n uint64
	for _, of := range c.Failures {
		n += of
	}
	return n
}
