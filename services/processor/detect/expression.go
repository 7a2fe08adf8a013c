package detect

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
	"headwater/services/rule/expression"
)

const (
	// rollBuckets is the number of parts in which the span of a window is kept.
	// The window moves by one of them at a time.
	rollBuckets = 60
	// leastStep is the least time between two evaluations by the clock alone.
	leastStep = time.Second
	// maxConditionSentence bounds the sentence of an expression in bytes.
	maxConditionSentence = 400
)

// Expression judges the metrics of one device by a condition. It is not a
// Detector, because its input is several series; otherwise it is used like one.
// It must not be used by two goroutines at a time, nor may its states.
type Expression struct {
	// For is how long the condition must hold before an episode opens, in event
	// time.
	For time.Duration
	// Silence is for how long a reading is valid. An episode closes when a metric
	// that a condition names has had no reading for that long.
	Silence time.Duration

	opens, resolves *expression.Program
	// metrics are the metrics of both conditions; shown is the index of the one
	// under which the alert is raised.
	metrics []string
	shown   int
	// rolls are the windows of both conditions.
	rolls []roll
	// clocked means that time alone can change the result of a condition; step is
	// how often it is evaluated then.
	clocked bool
	step    int64

	scratch expression.Scratch
	values  []float64
}

// roll is a window of a metric.
type roll struct {
	metric int
	span   time.Duration
}

func (r roll) width() int64 { return int64(r.span) / rollBuckets }

// NewExpression compiles the conditions. If resolve is empty, an episode ends
// when the condition is not true. If shown is empty, it is the first metric of
// the condition.
func NewExpression(condition, resolve, shown string, holds, silence time.Duration) (*Expression, error) {
	e := &Expression{For: holds, Silence: silence, step: math.MaxInt64}
	var err error
	e.opens, err = expression.Compile(condition)
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	programs := []*expression.Program{e.opens}
	if resolve != "" {
		e.resolves, err = expression.Compile(resolve)
		if err != nil {
			return nil, fmt.Errorf("resolve: %w", err)
		}
		programs = append(programs, e.resolves)
	}
	for _, p := range programs {
		e.take(p)
	}
	if shown != "" {
		e.shown = slices.Index(e.metrics, shown)
		if e.shown < 0 {
			return nil, fmt.Errorf("metric: %s is not used in the expression", shown)
		}
	}
	if holds < 0 || silence <= 0 {
		return nil, errors.New("for must be 0 or more, and silence above 0")
	}
	return e, nil
}

// take adds the metrics and windows of a program.
func (e *Expression) take(p *expression.Program) {
	for _, m := range p.Metrics() {
		if !slices.Contains(e.metrics, m) {
			e.metrics = append(e.metrics, m)
		}
	}
	for _, c := range p.Calls() {
		r := roll{metric: slices.Index(e.metrics, c.Metric), span: c.Span}
		switch {
		case c.Function == expression.Age:
			e.clocked, e.step = true, int64(leastStep)
		case c.Span > 0:
			e.clocked, e.step = true, min(e.step, max(r.width(), int64(leastStep)))
			if c.Function != expression.Last && !slices.Contains(e.rolls, r) {
				e.rolls = append(e.rolls, r)
			}
		}
	}
}

// Metrics are the metrics of the conditions.
func (e *Expression) Metrics() []string { return e.metrics }

// Shown is the metric under which the alert is raised.
func (e *Expression) Shown() string { return e.metrics[e.shown] }

// Bytes is about the most memory that the state of one device takes.
func (e *Expression) Bytes() int {
	return 168 + len(e.metrics)*40 + len(e.rolls)*(24+rollBuckets*40)
}

// Start returns the state of a device without readings.
func (e *Expression) Start() *ExpressionState {
	s := &ExpressionState{of: e, now: noTime, looked: noTime, latest: make([]Sample, len(e.metrics)), rolls: make([][]part, len(e.rolls))}
	s.from, s.holes = make([]int64, len(e.metrics)), make([]int64, len(e.metrics))
	for i := range s.latest {
		s.latest[i].Time, s.from[i], s.holes[i] = noTime, noTime, noTime
	}
	return s
}

// part is one part of a window: the readings whose time divided by its width is
// index.
type part struct {
	index         int64
	count         uint64
	sum, min, max float64
}

// ExpressionState is what an Expression knows of one device. It must not be
// used by two goroutines at a time.
type ExpressionState struct {
	of *Expression
	// now is the latest time known for the device, looked the time of the last
	// evaluation.
	now, looked int64
	latest      []Sample
	// from is the time from which the absence of a metric counts, if that is after
	// its latest reading; holes is the time up to which readings of it are
	// missing.
	from, holes []int64
	rolls       [][]part
	// since is the time from which the condition holds; valid while pending or
	// open.
	since         int64
	pending, open bool
	// failed is the error of the last evaluation.
	failed string
	// unheard means that a call about a span was evaluated in which nobody
	// listened for a while and readings are missing.
	unheard bool
}

// Failed returns the error of the last evaluation, or nothing. Such an error is
// a fault of the rule: its result can't be computed from the readings.
func (s *ExpressionState) Failed() string { return s.failed }

// Open reports whether an episode is open.
func (s *ExpressionState) Open() bool { return s.open }

// Observe takes a reading of one of the metrics. A reading of another metric,
// or one that is not after the previous reading of its metric, changes nothing.
func (s *ExpressionState) Observe(metric string, r Sample, unit string, out []Verdict) []Verdict {
	i := slices.Index(s.of.metrics, metric)
	if i < 0 || !r.follows(s.latest[i].Time) {
		return out
	}
	if r.Time > s.now {
		out = s.until(r.Time, unit, out)
		s.now = r.Time
	}
	s.latest[i] = r
	for j, roll := range s.of.rolls {
		if roll.metric == i {
			s.add(j, r)
		}
	}
	return s.look(s.now, unit, out)
}

// Listen sets the time from which the absence of readings of a metric counts,
// because before it Headwater did not listen. Missing means that the metric had readings
// in that time which will never come.
func (s *ExpressionState) Listen(metric string, from int64, missing bool) {
	i := slices.Index(s.of.metrics, metric)
	if i < 0 || s.latest[i].Time == noTime {
		return
	}
	s.from[i] = from
	if missing {
		s.holes[i] = from
	}
}

// heard is the time from which the absence of a metric that has a reading
// counts.
func (s *ExpressionState) heard(i int) int64 { return max(s.latest[i].Time, s.from[i]) }

// lasts is when a condition has held for long enough if nothing comes. Nobody
// may have heard that it ceased to hold.
func (s *ExpressionState) lasts() int64 {
	lost := int64(0)
	for i, r := range s.latest {
		if r.Time != noTime {
			lost = max(lost, s.heard(i)-r.Time)
		}
	}
	return s.since + int64(s.of.For) + lost
}

// Correct takes another value of the latest reading of a metric and evaluates
// the conditions at once. Avg, min, max, sum and count keep the previous value.
func (s *ExpressionState) Correct(metric string, r Sample, unit string, out []Verdict) []Verdict {
	i := slices.Index(s.of.metrics, metric)
	if i < 0 || r.Time != s.latest[i].Time {
		return out
	}
	s.latest[i].Value = r.Value
	return s.look(s.now, unit, out)
}

// Tick says that no reading came up to now.
func (s *ExpressionState) Tick(now int64, unit string, out []Verdict) []Verdict {
	if now <= s.now {
		return out
	}
	out = s.until(now, unit, out)
	s.now = now
	if s.of.clocked && now-s.looked >= s.of.step {
		out = s.look(now, unit, out)
	}
	return out
}

// until does what is due before a time.
func (s *ExpressionState) until(now int64, unit string, out []Verdict) []Verdict {
	if quiet := s.quiet(); (s.open || s.pending) && quiet <= now {
		if holds := s.lasts(); s.pending && holds < quiet {
			out = s.look(holds, unit, out)
		}
		if s.open {
			out = append(out, unheard(s.verdict(Close, quiet, "no reading of "+s.missing(quiet)+" for "+figure.Duration(s.of.Silence))))
		}
		s.open, s.pending = false, false
	}
	// At the very end a reading may still show that it did not last.
	if holds := s.lasts(); s.pending && holds < now {
		out = s.look(holds, unit, out)
	}
	return out
}

// quiet is when a metric that the conditions name counts as silent.
func (s *ExpressionState) quiet() int64 {
	quiet := int64(Never)
	for _, name := range s.of.opens.Names() {
		if i := slices.Index(s.of.metrics, name); s.latest[i].Time != noTime {
			quiet = min(quiet, s.heard(i)+int64(s.of.Silence))
		}
	}
	if quiet == Never { // it names none, so that any reading counts
		for i, r := range s.latest {
			if at := s.heard(i) + int64(s.of.Silence); r.Time != noTime && (quiet == Never || at > quiet) {
				quiet = at
			}
		}
		if s.ages() {
			return Never
		}
	}
	return quiet
}

// ages reports whether the condition asks how old readings are, so that it is
// meant to find silence.
func (s *ExpressionState) ages() bool {
	return slices.ContainsFunc(s.of.opens.Calls(), func(c expression.Call) bool {
		return c.Function == expression.Age || c.Function == expression.Count
	})
}

// missing names the metric that is silent at a time.
func (s *ExpressionState) missing(at int64) string {
	for _, name := range s.of.opens.Names() {
		if s.heard(slices.Index(s.of.metrics, name))+int64(s.of.Silence) <= at {
			return name
		}
	}
	return s.of.Shown()
}

// look evaluates the conditions at a time.
func (s *ExpressionState) look(at int64, unit string, out []Verdict) []Verdict {
	s.looked = at
	s.failed = ""
	if s.open && s.of.resolves != nil {
		if over, known := s.eval(s.of.resolves, at); known && over {
			return s.close(at, unit, out)
		}
		return out
	}
	holds, known := s.eval(s.of.opens, at)
	switch {
	case s.failed != "" || s.unheard:
		// What can't be computed, or wasn't heard, changes nothing.
	case s.open && known && !holds:
		return s.close(at, unit, out)
	case s.open:
	case !known || !holds:
		s.pending = false
	default:
		if !s.pending {
			s.pending, s.since = true, at
		}
		if at-s.since >= int64(s.of.For) {
			s.pending, s.open = false, true
			out = append(out, s.verdict(Open, at, s.sentence(s.of.opens, at, unit)))
		}
	}
	return out
}

func (s *ExpressionState) close(at int64, unit string, out []Verdict) []Verdict {
	s.open = false
	p := s.of.opens
	if s.of.resolves != nil {
		p = s.of.resolves
	}
	return append(out, s.verdict(Close, at, s.values(p, at, unit)+": over after "+elapsed(s.since, at)))
}

// Stop closes the open episode for the caller's reason.
func (s *ExpressionState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.open {
		out = append(out, s.verdict(Close, max(now, s.now), reason))
	}
	s.open, s.pending = false, false
	return out
}

// Due is when Tick has something to do.
func (s *ExpressionState) Due() int64 {
	due := int64(Never)
	if s.pending {
		due = s.lasts() + 1
	}
	if s.pending || s.open {
		due = min(due, s.quiet())
	}
	if s.of.clocked && s.looked != noTime {
		due = min(due, s.looked+s.of.step)
	}
	return due
}

// eval returns the result of a condition at a time. Known is false if a value
// that it needs is missing.
func (s *ExpressionState) eval(p *expression.Program, at int64) (holds, known bool) {
	e := s.of
	e.values, s.unheard = e.values[:0], false
	for _, name := range p.Names() {
		i := slices.Index(e.metrics, name)
		r := s.latest[i]
		if r.Time == noTime || at-s.heard(i) >= int64(e.Silence) {
			return false, false
		}
		e.values = append(e.values, r.Value)
	}
	for _, c := range p.Calls() {
		v, ok := s.answer(c, at)
		if !ok {
			return false, false
		}
		e.values = append(e.values, v)
	}
	holds, err := p.Eval(&e.scratch, e.values)
	if err != nil {
		s.failed = err.Error()
		return false, false
	}
	return holds, true
}

// answer returns the value of a call at a time, and whether there is one.
func (s *ExpressionState) answer(c expression.Call, at int64) (float64, bool) {
	i := slices.Index(s.of.metrics, c.Metric)
	r := s.latest[i]
	switch c.Function {
	case expression.Age:
		return float64(max(0, at-s.heard(i))) / 1e9, r.Time != noTime
	case expression.Last:
		within := int64(s.of.Silence)
		if c.Span > 0 {
			within = int64(c.Span)
		}
		return r.Value, r.Time != noTime && at-s.heard(i) < within
	}
	w := roll{metric: i, span: c.Span}
	total := part{min: math.Inf(1), max: math.Inf(-1)}
	last := at / w.width()
	for _, b := range s.rolls[slices.Index(s.of.rolls, w)] {
		if b.index <= last-rollBuckets || b.index > last {
			continue
		}
		total.count += b.count
		total.sum += b.sum
		total.min, total.max = min(total.min, b.min), max(total.max, b.max)
	}
	switch c.Function {
	case expression.Count, expression.Sum:
		if from := at - int64(c.Span); s.holes[i] > from || r.Time != noTime && s.heard(i) > max(from, r.Time) {
			s.unheard = true
			return 0, false
		}
		if c.Function == expression.Sum {
			return total.sum, true
		}
		return float64(total.count), true
	case expression.Min:
		return total.min, total.count > 0
	case expression.Max:
		return total.max, total.count > 0
	default:
		return total.sum / float64(total.count), total.count > 0
	}
}

// add puts a reading into a window and drops the parts that the window has
// left.
func (s *ExpressionState) add(j int, r Sample) {
	index := r.Time / s.of.rolls[j].width()
	parts := s.rolls[j]
	gone := 0
	for gone < len(parts) && parts[gone].index <= index-rollBuckets {
		gone++
	}
	if gone > 0 {
		parts = append(parts[:0], parts[gone:]...)
	}
	if n := len(parts); n == 0 || parts[n-1].index != index {
		parts = append(parts, part{index: index, min: r.Value, max: r.Value})
	}
	b := &parts[len(parts)-1]
	b.count++
	b.sum += r.Value
	b.min, b.max = min(b.min, r.Value), max(b.max, r.Value)
	s.rolls[j] = parts
}

// verdict returns a verdict on the current or last episode.
func (s *ExpressionState) verdict(phase Phase, at int64, sentence string) Verdict {
	r := s.latest[s.of.shown]
	v := Verdict{Phase: phase, Start: s.since, Time: at, Evidence: Evidence{
		Value: r.Value, Baseline: r.Value, Low: math.Inf(-1), High: math.Inf(1), Sentence: sentence,
	}}
	if r.Time != noTime {
		v.Evidence.Samples = []Sample{r}
	}
	if phase == Open {
		v.Evidence.Score = 1
	}
	return v
}

// sentence explains why an episode opens.
func (s *ExpressionState) sentence(p *expression.Program, at int64, unit string) string {
	text := s.values(p, at, unit) + ": " + p.Text()
	if s.of.For > 0 {
		text += " for " + figure.Duration(s.of.For)
	}
	return figure.Clip(text, maxConditionSentence)
}

// values formats the values that a condition uses.
func (s *ExpressionState) values(p *expression.Program, at int64, unit string) string {
	var text string
	put := func(name string, value float64, unit string) {
		if text != "" {
			text += ", "
		}
		text += name + " " + with(figure.Apart(value, p.Numbers()...)[0], unit)
	}
	for _, name := range p.Names() {
		i := slices.Index(s.of.metrics, name)
		if i == s.of.shown {
			put(name, s.latest[i].Value, unit)
		} else {
			put(name, s.latest[i].Value, "")
		}
	}
	for _, c := range p.Calls() {
		if v, ok := s.answer(c, at); ok {
			put(c.String(), v, "")
		}
	}
	return figure.Clip(text, maxConditionSentence)
}

// Append appends the state to b. Equal states give equal bytes.
func (s *ExpressionState) Append(b []byte) []byte {
	b = codec.Int(codec.Int(b, s.now), s.looked)
	for i, r := range s.latest {
		b = codec.Int(codec.Int(appendSample(b, r), s.from[i]), s.holes[i])
	}
	for _, parts := range s.rolls {
		b = codec.Uint(b, uint64(len(parts)))
		for _, p := range parts {
			b = codec.Uint(codec.Int(b, p.index), p.count)
			b = codec.Float(codec.Float(codec.Float(b, p.sum), p.min), p.max)
		}
	}
	b = codec.Bool(codec.Bool(b, s.pending), s.open)
	if s.pending || s.open {
		b = codec.Int(b, s.since)
	}
	return codec.String(b, s.failed)
}

// Read returns the state that Append wrote under equal parameters. The state is
// valid only if the reader has no error afterwards.
func (e *Expression) Read(r *codec.Reader) *ExpressionState {
	s := e.Start()
	s.now, s.looked = r.Int(), r.Int()
	for i := range s.latest {
		s.latest[i], s.from[i], s.holes[i] = readSample(r), r.Int(), r.Int()
	}
	for i := range s.rolls {
		n := r.Count()
		if n > rollBuckets {
			r.Fail()
			return s
		}
		for range n {
			s.rolls[i] = append(s.rolls[i], part{index: r.Int(), count: r.Uint(), sum: r.Float(), min: r.Float(), max: r.Float()})
		}
	}
	s.pending, s.open = r.Bool(), r.Bool()
	if s.pending || s.open {
		s.since = r.Int()
	}
	s.failed = r.String()
	return s
}
