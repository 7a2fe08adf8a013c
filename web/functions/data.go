package functions

import (
	"context"
	"errors"
	"time"
)

// ErrDraft is returned for a function that cannot be; the details say why.
var ErrDraft = errors.New("it does not fit")

// Source keeps the functions. Errors wrap view.ErrUnavailable when they cannot be reached,
// view.ErrNotFound for what does not exist, and ErrDraft.
type Source interface {
	// Functions returns all functions by name.
	Functions(ctx context.Context) ([]Function, error)
	// DeployFunction adds a version.
	DeployFunction(ctx context.Context, name string, d Draft) (Function, error)
	// SetFunctionState puts a version into a state.
	SetFunctionState(ctx context.Context, name string, version int, state State) (Function, error)
	// CallFunction sends a request to a function that runs on them, and returns its reply.
	CallFunction(ctx context.Context, name string, c Call) (Reply, error)
	// RemoveFunction deletes a function with its versions and its state.
	RemoveFunction(ctx context.Context, name string) error
}

// State is what a version is for.
type State string

const (
	// Stopped does not run.
	Stopped State = "draft"
	// Shadow runs beside the live version, and its outputs are only compared.
	Shadow State = "shadow"
	// Live is the version whose outputs are stored.
	Live State = "live"
)

// Limits are those of one call; 0 stands for the default.
type Limits struct {
	// Memory is in MiB, Milliseconds bound the time, and Output is in KiB.
	Memory       int   `json:"memory_mib,omitempty"`
	Milliseconds int64 `json:"time_ms,omitempty"`
	Output       int   `json:"output_kib,omitempty"`
}

// Draft is a version that is to be deployed.
type Draft struct {
	// Kind is wasm or worker.
	Kind string `json:"kind"`
	// Code is WebAssembly; none for a worker.
	Code []byte `json:"code,omitempty"`
	// On is what it runs on: readings, summaries, anomalies, alerts, schedule or http. Empty
	// stands for readings.
	On string `json:"on,omitempty"`
	// Match are patterns of series, site/device/metric, each a name or *.
	Match []string `json:"match,omitempty"`
	// Cron are the times of a schedule in the time zone of Site.
	Cron   string `json:"cron,omitempty"`
	Site   string `json:"site,omitempty"`
	Limits Limits `json:"limits,omitzero"`
	State  State  `json:"state"`
}

// Version is one version of a function.
type Version struct {
	Number   int       `json:"number"`
	State    State     `json:"state"`
	Kind     string    `json:"kind"`
	Size     int       `json:"size"`
	On       string    `json:"on"`
	Match    []string  `json:"match,omitempty"`
	Cron     string    `json:"cron,omitempty"`
	Site     string    `json:"site,omitempty"`
	Limits   Limits    `json:"limits"`
	Deployed time.Time `json:"deployed"`
	By       string    `json:"by,omitempty"`
}

// Call is an HTTP request to a function. The key is one that its sender makes up; a request
// that comes again with it gets the same reply, and has no effect.
type Call struct {
	Query, Type, Key string
	Body             []byte
}

// Reply is what a function answers to a request.
type Reply struct {
	// Status is 200 to 599.
	Status     int
	Type, Body string
}

// Counts are of one version, since it runs.
type Counts struct {
	Calls    uint64            `json:"calls"`
	Readings uint64            `json:"readings"`
	Outputs  uint64            `json:"outputs"`
	Failures map[string]uint64 `json:"failures,omitempty"`
	// P50, P99 and Busy are in seconds, Memory in bytes.
	P50    float64 `json:"p50_seconds"`
	P99    float64 `json:"p99_seconds"`
	Busy   float64 `json:"busy_seconds"`
	Memory uint64  `json:"memory"`
	Last   *Failed `json:"last_failure,omitempty"`
}

// Failed is a failed call.
type Failed struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail"`
}

// Line is a line of the log.
type Line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Comparison is what the comparison of a shadow with the live version says.
type Comparison struct {
	Version   int    `json:"version"`
	Problem   string `json:"problem,omitempty"`
	Counts    Counts `json:"counts"`
	Same      uint64 `json:"same"`
	Different uint64 `json:"different"`
	// Latest are the latest differences.
	Latest []Difference `json:"latest,omitempty"`
}

// Difference is a call for which the two versions said something else: the first reading that
// only one of them has, or how it failed; empty for nothing.
type Difference struct {
	At     time.Time `json:"at"`
	Live   string    `json:"live,omitempty"`
	Shadow string    `json:"shadow,omitempty"`
}

// Function is a function and how it does.
type Function struct {
	Name     string    `json:"name"`
	Versions []Version `json:"versions"`
	// Live and Shadow are numbers of versions, 0 for none, and Previous is the version to
	// which it would be rolled back.
	Live     int `json:"live"`
	Shadow   int `json:"shadow,omitempty"`
	Previous int `json:"previous,omitempty"`
	// Problem says why the live version does not run; empty while it does.
	Problem string `json:"problem,omitempty"`
	Counts  Counts `json:"counts"`
	Waiting uint64 `json:"waiting"`
	// Skipped is at most how many messages were removed for lack of room before it had them.
	Skipped uint64      `json:"skipped,omitempty"`
	Log     []Line      `json:"log,omitempty"`
	Beside  *Comparison `json:"beside,omitempty"`
}

// failures is the number of failed calls.
func (c Counts) failures() uint64 {
	var n uint64
	for _, of := range c.Failures {
		n += of
	}
	return n
}
