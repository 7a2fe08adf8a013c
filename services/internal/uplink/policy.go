package uplink

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

// Bounds of a policy.
const (
	maxSelections = 64
	maxEvery      = 1_000_000
	// maxKnown bounds the series of which an edge remembers what it sent last.
	maxKnown = 100_000
)

// Policy is what an edge sends. Alerts always go, at once; the rest is declared.
type Policy struct {
	// Readings are the readings that go up: of a series, the first selection that matches
	// counts, and without one nothing does.
	Readings []Selection `json:"readings"`
	// Summaries are the window summaries that go up, at once and beside the budget, as alerts do:
	// one that any selection matches goes.
	Summaries []SummarySelection `json:"summaries,omitempty"`
	// Budget is how many bytes of readings may go up in a day of UTC, and Rate how many in a
	// second on average; 0 sets no bound.
	Budget int64 `json:"budget,omitempty"`
	Rate   int64 `json:"rate,omitempty"`
}

// Selection is a pattern of series and how many of their readings go up.
type Selection struct {
	// Series is site/device/metric, each a name or *.
	Series string `json:"series"`
	// Every sends each n-th reading; 0 and 1 send all, unless there is a deadband.
	Every int `json:"every,omitempty"`
	// Deadband sends a number only when it differs from the last one that was sent by more
	// than that; flags and texts when they differ.
	Deadband float64 `json:"deadband,omitempty"`
}

// ParseSelection reads site/device/metric, or it with "=every 10" or "=deadband 0.5" behind.
// The word all stands for every reading.
func ParseSelection(text string) (Selection, error) {
	pattern, how, limited := strings.Cut(text, "=")
	s := Selection{Series: strings.TrimSpace(pattern)}
	if s.Series == "all" {
		s.Series = "*/*/*"
	}
	if limited {
		word, value, _ := strings.Cut(strings.TrimSpace(how), " ")
		var err error
		switch word {
		case "every":
			s.Every, err = strconv.Atoi(strings.TrimSpace(value))
		case "deadband":
			s.Deadband, err = strconv.ParseFloat(strings.TrimSpace(value), 64)
		default:
			err = errors.New("unknown word")
		}
		if err != nil {
			return s, fmt.Errorf("%q is not all, site/device/metric, or that with =every 10 or =deadband 0.5 behind", clip(text))
		}
	}
	return s, s.validate()
}

// String is what ParseSelection reads.
func (s Selection) String() string {
	switch {
	case s.Every > 1:
		return fmt.Sprintf("%s=every %d", s.Series, s.Every)
	case s.Deadband > 0:
		return fmt.Sprintf("%s=deadband %s", s.Series, strconv.FormatFloat(s.Deadband, 'g', -1, 64))
	}
	return s.Series
}

func (s Selection) validate() error {
	if err := validatePattern(s.Series); err != nil {
		return err
	}
	switch {
	case s.Every < 0 || s.Every > maxEvery:
		return fmt.Errorf("every must be 1 to %d", maxEvery)
	case s.Deadband < 0 || math.IsNaN(s.Deadband) || math.IsInf(s.Deadband, 0):
		return errors.New("deadband must be a number of 0 or more")
	case s.Every > 1 && s.Deadband > 0:
		return errors.New("every and deadband exclude one another")
	}
	return nil
}

// validatePattern returns what is wrong with a pattern of series, or nil.
func validatePattern(series string) error {
	parts := strings.Split(series, "/")
	bad := len(parts) != 3
	for _, p := range parts {
		bad = bad || p != "*" && !streams.ValidToken(p)
	}
	if bad {
		return fmt.Errorf("%q is not site/device/metric, each 1 to 64 letters, digits, hyphens or underscores, or *", clip(series))
	}
	return nil
}

// matches reports whether a pattern of series matches one.
func matches(pattern string, k telemetryv1.Key) bool {
	parts := strings.Split(pattern, "/")
	return fits(parts[0], k.Site) && fits(parts[1], k.Device) && fits(parts[2], k.Metric)
}

// Validate returns what is wrong with the policy, or nil.
func (p Policy) Validate() error {
	if len(p.Readings) > maxSelections {
		return fmt.Errorf("%d selections of readings, at most %d", len(p.Readings), maxSelections)
	}
	for _, s := range p.Readings {
		if err := s.validate(); err != nil {
			return err
		}
	}
	if len(p.Summaries) > maxSelections {
		return fmt.Errorf("%d selections of summaries, at most %d", len(p.Summaries), maxSelections)
	}
	for _, s := range p.Summaries {
		if err := s.validate(); err != nil {
			return err
		}
	}
	if p.Budget < 0 || p.Rate < 0 {
		return errors.New("budget and rate must not be less than 0")
	}
	return nil
}

// find returns the selection of a series.
func (p Policy) find(k telemetryv1.Key) (Selection, bool) {
	for _, s := range p.Readings {
		if matches(s.Series, k) {
			return s, true
		}
	}
	return Selection{}, false
}

func fits(pattern, name string) bool { return pattern == "*" || pattern == name }

// Selector chooses the readings that go up. One goroutine only.
type Selector struct {
	policy Policy
	known  map[telemetryv1.Series]*sentSeries
}

// sentSeries is what is known of a series.
type sentSeries struct {
	selection Selection
	selected  bool
	// passed counts the readings since the last one that was sent.
	passed int
	last   telemetryv1.Reading
	sent   bool
}

// NewSelector returns a Selector of a valid policy.
func NewSelector(p Policy) *Selector {
	return &Selector{policy: p, known: make(map[telemetryv1.Series]*sentSeries)}
}

// Select returns the readings of a batch that go up, in their order, without what only the
// edge needs; nil if there are none.
func (s *Selector) Select(b *telemetryv1.Batch) *telemetryv1.Batch {
	if len(b.GetSeries()) == 0 || len(s.policy.Readings) == 0 {
		return nil
	}
	dictionary := b.Dictionary()
	series := make([]*sentSeries, len(dictionary))
	for i, d := range dictionary {
		series[i] = s.of(d)
	}
	var out telemetryv1.Builder
	for r := range b.Readings() {
		if series[r.Series].take(r) {
			Append(&out, dictionary[r.Series].Key, r)
		}
	}
	if out.Empty() {
		return nil
	}
	return out.Take(b.GetArrival())
}

func (s *Selector) of(d telemetryv1.Series) *sentSeries {
	known := s.known[d]
	if known == nil {
		if len(s.known) >= maxKnown {
			clear(s.known) // each series is sent once more than it need be
		}
		known = new(sentSeries)
		known.selection, known.selected = s.policy.find(d.Key)
		d.Site, d.Device, d.Metric, d.Unit = strings.Clone(d.Site), strings.Clone(d.Device), strings.Clone(d.Metric), strings.Clone(d.Unit)
		s.known[d] = known
	}
	return known
}

// take reports whether a reading goes up.
func (k *sentSeries) take(r telemetryv1.Reading) bool {
	if !k.selected {
		return false
	}
	switch {
	case !k.sent:
	case k.selection.Every > 1:
		if k.passed++; k.passed < k.selection.Every {
			return false
		}
	case k.selection.Deadband > 0:
		if !differs(k.last, r, k.selection.Deadband) {
			return false
		}
	}
	k.sent, k.passed = true, 0
	k.last = r
	k.last.Text = strings.Clone(r.Text)
	return true
}

func differs(a, b telemetryv1.Reading, by float64) bool {
	if b.Kind == telemetryv1.Kind_KIND_VALUE {
		return !(math.Abs(b.Value-a.Value) <= by)
	}
	return a.Flag != b.Flag || a.Text != b.Text
}

// Append adds a reading of a batch to a builder.
func Append(to *telemetryv1.Builder, k telemetryv1.Key, r telemetryv1.Reading) {
	switch r.Kind {
	case telemetryv1.Kind_KIND_FLAG:
		to.Flag(k, r.Time, r.Flag)
	case telemetryv1.Kind_KIND_TEXT:
		to.Text(k, r.Time, r.Text)
	default:
		to.Value(k, r.Time, r.Value)
	}
}

// Bytes of a message of MQTT besides its topic and value: the header of a PUBLISH with
// QoS 1, and {"value":,"ts":1764370000000} around the value.
const (
	overheadMQTT = 2 + 2 + 2
	overheadJSON = len(`{"value":,"ts":1764370000000}`)
	topicPrefix  = len("sensors/")
)

// Whole is what sending each reading of a batch as one message of MQTT takes, without
// TCP/IP and TLS.
func Whole(b *telemetryv1.Batch) Traffic {
	t := Traffic{Readings: uint64(len(b.GetSeries())), Messages: uint64(len(b.GetSeries()))}
	dictionary := b.Dictionary()
	var digits [32]byte
	for r := range b.Readings() {
		k := dictionary[r.Series].Key
		n := overheadMQTT + overheadJSON + topicPrefix + len(k.Site) + 1 + len(k.Device) + 1 + len(k.Metric)
		switch r.Kind {
		case telemetryv1.Kind_KIND_FLAG:
			n += len("false")
		case telemetryv1.Kind_KIND_TEXT:
			n += len(r.Text) + 2
		default:
			n += len(strconv.AppendFloat(digits[:0], r.Value, 'g', -1, 64))
		}
		t.Bytes += uint64(n)
	}
	return t
}
