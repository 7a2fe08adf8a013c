// Package function keeps what people deployed: functions with their versions and code, and
// what the service of functions says of each.
package function

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/services/internal/calendar"
	"headwater/streams"
)

// Bounds of a function.
const (
	// MaxVersions is how many versions are kept, the live one among them.
	MaxVersions = 10
	maxMatches  = 64
	// MaxMemory is in MiB, MaxTime bounds one call, and MaxOutput is in KiB.
	MaxMemory = 256
	MaxTime   = 30 * time.Second
	MaxOutput = 1024
)

// Errors, worded for people.
var (
	// ErrNone is returned for a function or a version that does not exist.
	ErrNone = errors.New("there is no such function or version")
	// ErrDraft is returned for a function that cannot be; the details say why.
	ErrDraft = errors.New("it does not fit")
)

// Kind is what runs a function.
type Kind string

const (
	// Wasm is WebAssembly, which the service of functions runs itself.
	Wasm Kind = "wasm"
	// Worker is a program of one's own, which takes its requests over NATS.
	Worker Kind = "worker"
)

// Trigger is what a function runs on. It is also the name of the list in its input.
type Trigger string

const (
	// Readings are those of devices and edges. Versions that name no trigger have this one.
	Readings Trigger = "readings"
	// Summaries are those of windows.
	Summaries Trigger = "summaries"
	// Anomalies are the openings, updates and ends of episodes.
	Anomalies Trigger = "anomalies"
	// Alerts are the transitions of alerts.
	Alerts Trigger = "alerts"
	// Schedule runs it at times.
	Schedule Trigger = "schedule"
	// HTTP runs it on a request, which it may answer.
	HTTP Trigger = "http"
)

// Triggers are all of them.
func Triggers() []Trigger {
	return []Trigger{Readings, Summaries, Anomalies, Alerts, Schedule, HTTP}
}

// Stream is the stream that has what triggers it, empty if none does.
func (t Trigger) Stream() string {
	switch t {
	case Readings:
		return streams.StreamTelemetry
	case Summaries, Anomalies:
		return streams.StreamDerived
	case Alerts:
		return streams.StreamAlerting
	}
	return ""
}

// Derived reports whether what triggers it may follow from the outputs of functions.
func (t Trigger) Derived() bool { return t == Summaries || t == Anomalies || t == Alerts }

// State is what a version is for.
type State string

const (
	// Draft is deployed and does not run.
	Draft State = "draft"
	// Shadow runs beside the live version, and its outputs are only compared.
	Shadow State = "shadow"
	// Live is the version whose outputs are stored.
	Live State = "live"
)

// Limits are those of one call.
type Limits struct {
	// Memory is in MiB, Output in KiB.
	Memory int           `json:"memory"`
	Time   time.Duration `json:"time"`
	Output int           `json:"output"`
}

// DefaultLimits are the limits of a function that declares none.
func DefaultLimits() Limits { return Limits{Memory: 64, Time: time.Second, Output: 256} }

// WithDefaults returns the limits with defaults for those that are 0.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	if l.Memory == 0 {
		l.Memory = d.Memory
	}
	if l.Time == 0 {
		l.Time = d.Time
	}
	if l.Output == 0 {
		l.Output = d.Output
	}
	return l
}

// Version is one version of a function.
type Version struct {
	// Number counts from 1.
	Number int  `json:"number"`
	Kind   Kind `json:"kind"`
	// Code is the SHA-256 of the code in hexadecimal digits, Size its bytes; none for a worker.
	Code string `json:"code,omitempty"`
	Size int    `json:"size,omitempty"`
	// On is what it runs on; empty in versions that were stored before there was a choice.
	On Trigger `json:"on,omitempty"`
	// Match are patterns of series, site/device/metric, each a name or *. One must fit. A
	// schedule and requests have none.
	Match []string `json:"match,omitempty"`
	// Cron are the times of a schedule, as calendar.ParseCron reads them, in the time zone of
	// Site; that of the installation if Site is empty.
	Cron     string    `json:"cron,omitempty"`
	Site     string    `json:"site,omitempty"`
	Limits   Limits    `json:"limits"`
	Deployed time.Time `json:"deployed"`
	// By is who deployed it.
	By string `json:"by,omitempty"`
}

// Validate returns what is wrong with the version, or nil.
func (v Version) Validate() error {
	problem := ""
	l, on := v.Limits, v.Trigger()
	_, cron := calendar.ParseCron(v.Cron)
	switch {
	case !slices.Contains(Triggers(), on):
		problem = "it runs on readings, summaries, anomalies, alerts, schedule or http"
	case on == Schedule && cron != nil:
		problem = cron.Error()
	case on != Schedule && (v.Cron != "" || v.Site != ""):
		problem = "only a schedule has cron and site"
	case v.Site != "" && !streams.ValidToken(v.Site):
		problem = "a site is 1 to 64 letters, digits, hyphens or underscores"
	case on.Stream() == "" && len(v.Match) > 0:
		problem = "match is of series, which " + string(on) + " does not have"
	case v.Kind != Wasm && v.Kind != Worker:
		problem = "the kind is wasm or worker"
	case v.Kind == Wasm && v.Size == 0:
		problem = "there is no code"
	case on.Stream() != "" && (len(v.Match) == 0 || len(v.Match) > maxMatches):
		problem = fmt.Sprintf("match needs 1 to %d patterns, such as hall/*/temperature", maxMatches)
	case l.Memory < 1 || l.Memory > MaxMemory:
		problem = fmt.Sprintf("memory must be 1 to %d MiB", MaxMemory)
	case l.Time < time.Millisecond || l.Time > MaxTime:
		problem = fmt.Sprintf("time must be 1ms to %s", MaxTime)
	case l.Output < 1 || l.Output > MaxOutput:
		problem = fmt.Sprintf("output must be 1 to %d KiB", MaxOutput)
	}
	for _, m := range v.Match {
		parts := strings.Split(m, "/")
		if len(parts) != 3 || slices.ContainsFunc(parts, func(p string) bool { return p != "*" && !streams.ValidToken(p) }) {
			problem = "a pattern is site/device/metric, each 1 to 64 letters, digits, hyphens or underscores, or *"
		}
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrDraft, problem)
	}
	return nil
}

// Trigger is what the version runs on.
func (v Version) Trigger() Trigger { return cmp.Or(v.On, Readings) }

// Matches reports whether what comes of a series triggers the version.
func (v Version) Matches(site, device, metric string) bool {
	return v.Trigger().Stream() == "" || slices.ContainsFunc(v.Match, func(pattern string) bool {
		s, rest, _ := strings.Cut(pattern, "/")
		d, m, _ := strings.Cut(rest, "/")
		return (s == "*" || s == site) && (d == "*" || d == device) && (m == "*" || m == metric)
	})
}

// Function is a function with its versions.
type Function struct {
	Name string `json:"name"`
	// Versions are in the order of their numbers.
	Versions []Version `json:"versions"`
	// Live and Shadow are numbers of versions, 0 for none.
	Live   int `json:"live,omitempty"`
	Shadow int `json:"shadow,omitempty"`
}

// Trigger is what the function runs on. All versions run on the same.
func (f Function) Trigger() Trigger {
	if len(f.Versions) == 0 {
		return Readings
	}
	return f.Versions[0].Trigger()
}

// Version returns a version by its number.
func (f Function) Version(number int) (Version, bool) {
	i := slices.IndexFunc(f.Versions, func(v Version) bool { return v.Number == number })
	if i < 0 {
		return Version{}, false
	}
	return f.Versions[i], true
}

// StateOf returns the state of a version.
func (f Function) StateOf(number int) State {
	switch number {
	case f.Live:
		return Live
	case f.Shadow:
		return Shadow
	}
	return Draft
}

// add adds a version with the next number and puts it into a state. The oldest versions that
// do not run make room.
func (f *Function) add(v Version, state State) (Version, error) {
	v.Number = 1
	if n := len(f.Versions); n > 0 {
		v.Number = f.Versions[n-1].Number + 1
	}
	v.Limits = v.Limits.WithDefaults()
	if err := v.Validate(); err != nil {
		return v, err
	}
	if len(f.Versions) > 0 && f.Trigger() != v.Trigger() {
		return v, fmt.Errorf("%w: %s runs on %s, a version of it cannot run on %s", ErrDraft, f.Name, f.Trigger(), v.Trigger())
	}
	f.Versions = append(f.Versions, v)
	if err := f.set(v.Number, state); err != nil {
		return v, err
	}
	for i := 0; len(f.Versions) > MaxVersions && i < len(f.Versions); {
		if f.StateOf(f.Versions[i].Number) == Draft {
			f.Versions = slices.Delete(f.Versions, i, i+1)
			continue
		}
		i++
	}
	return v, nil
}

// set puts a version into a state.
func (f *Function) set(number int, state State) error {
	if _, ok := f.Version(number); !ok {
		return fmt.Errorf("%w: %s has no version %d", ErrNone, f.Name, number)
	}
	switch state {
	case Draft, Shadow, Live:
	default:
		return fmt.Errorf("%w: a state is draft, shadow or live", ErrDraft)
	}
	if state == Shadow && (f.Live == 0 || f.Live == number) {
		return fmt.Errorf("%w: a version runs as a shadow beside another one that is live", ErrDraft)
	}
	if f.Shadow == number {
		f.Shadow = 0
	}
	if f.Live == number {
		f.Live = 0
	}
	switch state {
	case Live:
		f.Live = number
	case Shadow:
		f.Shadow = number
	}
	if f.Live == 0 {
		f.Shadow = 0
	}
	return nil
}

// Previous returns the newest version before the live one, 0 if there is none.
func (f Function) Previous() int {
	previous := 0
	for _, v := range f.Versions {
		if v.Number < f.Live {
			previous = v.Number
		}
	}
	return previous
}

// Sum names code.
func Sum(code []byte) string {
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

// magic begins a module of WebAssembly.
const magic = "\x00asm\x01\x00\x00\x00"

// CheckCode returns what is wrong with code before it is compiled, or nil.
func CheckCode(code []byte) error {
	switch {
	case len(code) > streams.MaxFunctionCode:
		return fmt.Errorf("%w: the code has %d bytes, at most %d: build it with -ldflags=-s", ErrDraft, len(code), streams.MaxFunctionCode)
	case !strings.HasPrefix(string(code[:min(len(code), len(magic))]), magic):
		return fmt.Errorf("%w: that is no WebAssembly: headwater fn build makes it", ErrDraft)
	}
	return nil
}
