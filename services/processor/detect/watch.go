package detect

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
	"headwater/services/rule"
)

const (
	// quietReadings is how many readings that are back and not unusual, counted
	// from the most unusual one, close an episode.
	quietReadings = 12
	// holdOff is for how many readings only something more unusual is news. After
	// as many readings that are not back but no longer unusual, the episode
	// closes: the level has changed.
	holdOff = 100
	// leastSurprise is below any threshold.
	leastSurprise = 2
	// recentSamples is how many readings are kept as evidence.
	recentSamples = 3
	// largest bounds the values that enter a state, so that no difference or sum
	// of two is infinite.
	largest = 1e300
	// outlier bounds a deviation when it is learned, in usual deviations; farthest
	// bounds a value in means likewise.
	outlier, farthest = 100, 20
)

// Alarms are the parameters of every detector that learns what is usual.
type Alarms struct {
	// FalseAlarms is how many false alarms a week a series may raise while nothing
	// is wrong with it: above 0, at most 1000. Several detectors add up.
	FalseAlarms float64
	// For is how long a value must stay outside the band that it left before the
	// episode opens; 0 opens it at once. With a For, an episode opens with a
	// reading, never by the clock.
	For time.Duration
	// Silence closes an episode whose series has no reading for that long.
	Silence time.Duration
}

// DefaultAlarms returns the parameters used when a person sets none.
func DefaultAlarms() Alarms {
	return Alarms{FalseAlarms: rule.DefaultFalseAlarms, Silence: rule.DefaultSilence}
}

func (a Alarms) validate(name string) error {
	var errs []error
	if !(a.FalseAlarms > 0) || a.FalseAlarms > 1000 {
		errs = append(errs, fmt.Errorf("%s: false alarms must be above 0 and at most 1000 a week", name))
	}
	if a.For < 0 {
		errs = append(errs, fmt.Errorf("%s: for must be 0 or more", name))
	}
	if a.Silence <= 0 {
		errs = append(errs, fmt.Errorf("%s: silence must be above 0", name))
	}
	return errors.Join(errs...)
}

// opinion is what a core thinks of a reading.
type opinion struct {
	// surprise is -log10 of the probability of such a reading; 0 while learning.
	surprise float64
	// expected is the usual value, scale the usual distance from it, and deviation
	// the distance of the reading in scales.
	expected, scale, deviation float64
	// mean is the value that was judged if averaged is set: a mean that ends with
	// the reading, not the reading itself.
	mean     float64
	averaged bool
	// threshold is the surprise from which an episode opens. It is set before
	// explain.
	threshold float64
	// part identifies which of several models formed the opinion.
	part int
	// over means that the unusual state has certainly ended; firm means that it
	// continues as long as there is surprise, wherever the value is.
	over, firm bool
}

// of returns the value that was judged.
func (o *opinion) of(r Sample) float64 {
	if o.averaged {
		return o.mean
	}
	return r.Value
}

// core is the part in which the kinds of detectors differ.
type core interface {
	// judge says how unusual the reading is given everything before it. It changes
	// nothing.
	judge(r Sample, p *pace) opinion
	// learn takes in the reading and the opinion of it.
	learn(r Sample, p *pace, o opinion)
	// explain returns baseline, band and sentence for a reading whose surprise
	// reaches the opinion's threshold. It is called before learn.
	explain(r Sample, p *pace, o opinion, unit string) Evidence
	// cluster is how many readings in a row are unusual when one is by chance.
	cluster() float64
	learning() bool
	append(b []byte) []byte
	read(r *codec.Reader)
}

// watch turns a core's opinions of readings into episodes.
type watch struct {
	alarms  Alarms
	core    core
	pace    pace
	deaf    deaf
	recent  [recentSamples]Sample
	n       int32
	score   float64
	held    hold
	episode episode
}

// band is the range of values that was usual when an episode began.
type band struct{ baseline, low, high float64 }

// bounded reports whether there is a band at all.
func (b band) bounded() bool { return !math.IsInf(b.low, -1) || !math.IsInf(b.high, 1) }

// holds reports whether the value is usual.
func (b band) holds(v float64) bool { return v >= b.low && v <= b.high }

func (b band) append(to []byte) []byte {
	return codec.Float(codec.Float(codec.Float(to, b.baseline), b.low), b.high)
}

func readBand(r *codec.Reader) band {
	return band{baseline: r.Float(), low: r.Float(), high: r.Float()}
}

// hold lets a surprise pass if it is the first for holdOff readings or greater
// than the last that passed.
type hold struct {
	last float64
	ago  int32
}

func (h *hold) pass(surprise float64) float64 {
	h.ago++
	if surprise <= 0 || h.ago <= holdOff && surprise <= h.last {
		return 0
	}
	h.ago, h.last = 0, surprise
	return surprise
}

// episode is open while emitted is above 0. While only most is, it is pending:
// a value has left the band, but not for long enough.
type episode struct {
	start int64
	// peak is the most unusual reading.
	peak Sample
	// emitted is the last score emitted, most the score of the peak.
	emitted, most float64
	// quiet counts readings with nothing unusual, inside those at their end that
	// are back. Without an episode, inside counts down after a value that came
	// back in time.
	quiet, inside int32
	band
}

// back reports whether the value is usual again or has come back half of the
// way from the most unusual one: the usual values may have moved meanwhile.
func (e *episode) back(v float64) bool {
	return e.holds(v) || math.Abs(v-e.baseline) <= math.Abs(e.peak.Value-e.baseline)/2
}

func start(a Alarms, c core) State { return &watch{alarms: a, core: c, pace: pace{last: noTime}} }

// bytesOf is the memory of a watch with its core.
func bytesOf(c core) int {
	return int(reflect.TypeFor[watch]().Size()) + int(reflect.TypeOf(c).Elem().Size())
}

// resume reads what Append wrote.
func resume(a Alarms, c core, r *codec.Reader) State {
	w := &watch{alarms: a, core: c}
	w.pace.read(r)
	w.deaf = readDeaf(r)
	w.n = int32(min(r.Count(), recentSamples+1))
	if w.n > recentSamples {
		r.Fail()
		w.n = 0
	}
	for i := range w.n {
		w.recent[i] = readSample(r)
	}
	w.held = hold{last: r.Float(), ago: int32(min(r.Uint(), holdOff+1))}
	if e := &w.episode; r.Bool() {
		*e = episode{
			start: r.Int(), peak: readSample(r), emitted: r.Float(), most: r.Float(), quiet: int32(min(r.Uint(), holdOff)),
			inside: int32(min(r.Uint(), quietReadings)), band: readBand(r),
		}
	}
	c.read(r)
	return w
}

// Append appends the state to b.
func (w *watch) Append(b []byte) []byte {
	b = codec.Uint(w.deaf.append(w.pace.append(b)), uint64(w.n))
	for _, s := range w.recent[:w.n] {
		b = appendSample(b, s)
	}
	b = codec.Uint(codec.Float(b, w.held.last), uint64(min(w.held.ago, holdOff+1)))
	e := &w.episode
	kept := e.most > 0 || e.inside > 0
	b = codec.Bool(b, kept)
	if kept {
		b = appendSample(codec.Int(b, e.start), e.peak)
		b = codec.Uint(codec.Float(codec.Float(b, e.emitted), e.most), uint64(e.quiet))
		b = e.band.append(codec.Uint(b, uint64(e.inside)))
	}
	return w.core.append(b)
}

// Open returns the last score emitted for the open episode, or 0.
func (w *watch) Open() float64 { return w.episode.emitted }

// Score is a tenth of -log10 p of the last reading, 0 while only something more
// unusual is news.
func (w *watch) Score() float64 { return w.score }

// Learning reports whether too little is known of the series.
func (w *watch) Learning() bool { return !w.pace.known() || w.core.learning() }

// Due is when the series of an open episode counts as silent.
func (w *watch) Due() int64 {
	if w.episode.emitted == 0 {
		return Never
	}
	return w.pace.last + int64(w.deaf) + int64(w.alarms.Silence)
}

// Listen sets from when silence counts.
func (w *watch) Listen(from int64) { w.deaf = listen(w.pace.last, from) }

// Observe judges the next reading, then learns from it.
func (w *watch) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(w.pace.last) {
		return out
	}
	out = w.Tick(r.Time, unit, out)
	tamed := Sample{Time: r.Time, Value: min(max(r.Value, -largest), largest)}
	w.pace.begin(r.Time)
	o := w.core.judge(tamed, &w.pace)
	w.remember(r)
	news := w.held.pass(o.surprise)
	w.score = min(news/10, 1)
	switch {
	case w.episode.emitted > 0:
		out = w.follow(r, o, unit, out)
	case w.alarms.For > 0:
		out = w.wait(r, o, unit, out)
	case news >= leastSurprise && w.pace.known():
		o.threshold = w.threshold()
		if news >= o.threshold {
			w.episode = episode{start: r.Time}
			out = append(out, w.emit(Open, r, o, unit))
		}
	}
	w.core.learn(tamed, &w.pace, o)
	w.pace.end(r.Time)
	w.deaf = 0
	return out
}

// threshold is the surprise that occurs as often as false alarms are accepted.
func (w *watch) threshold() float64 {
	return max(math.Log10(w.pace.aWeek()/w.alarms.FalseAlarms/w.core.cluster()), leastSurprise)
}

// wait judges a reading while no episode is open and For must pass before one
// opens.
func (w *watch) wait(r Sample, o opinion, unit string, out []Verdict) []Verdict {
	e := &w.episode
	unusual := false
	if o.surprise >= leastSurprise && w.pace.known() {
		o.threshold = w.threshold()
		unusual = o.surprise >= o.threshold
	}
	// Going back to the usual values is not news.
	returned := e.inside > 0 && e.holds(o.of(r))
	switch {
	case e.most == 0 && unusual && !returned:
		said := w.core.explain(r, &w.pace, o, unit)
		*e = episode{
			start: r.Time, peak: r, most: ratio(o.surprise, o.threshold), band: band{said.Baseline, said.Low, said.High},
		}
	case e.most == 0:
		e.inside = max(e.inside-1, 0)
	case e.bounded() && e.holds(o.of(r)):
		*e = episode{band: e.band, inside: quietReadings}
	case !e.bounded() && !unusual:
		*e = episode{}
	case r.Time-e.start >= int64(w.alarms.For):
		out = append(out, w.lasted(r, o, unit))
	}
	return out
}

// lasted returns the verdict of an episode that opens after For. By then the
// core may have come to expect the value, so it is compared with the band from
// when the value left it.
func (w *watch) lasted(r Sample, o opinion, unit string) Verdict {
	e := &w.episode
	lasted := elapsed(e.start, r.Time)
	if !e.bounded() {
		v := w.emit(Open, r, o, unit)
		v.Evidence.Sentence += "; unusual for " + lasted
		return v
	}
	value := o.of(r)
	e.emitted = e.most
	side, edge := "above", e.high
	if value < e.low {
		side, edge = "below", e.low
	}
	texts := figure.Apart(value, edge)
	return Verdict{Phase: Open, Start: e.start, Time: r.Time, Evidence: Evidence{
		Value: value, Score: e.emitted, Baseline: e.baseline, Low: e.low, High: e.high, Samples: thin(w.recent[:w.n]),
		Sentence: with(texts[0], unit) + ", " + side + " the usual " + texts[1] + ", for " + lasted,
	}}
}

// remember keeps the reading as evidence.
func (w *watch) remember(r Sample) {
	if w.n < recentSamples {
		w.recent[w.n] = r
		w.n++
		return
	}
	copy(w.recent[:], w.recent[1:])
	w.recent[recentSamples-1] = r
}

// follow judges a reading while an episode is open.
func (w *watch) follow(r Sample, o opinion, unit string, out []Verdict) []Verdict {
	o.threshold = w.threshold()
	e := &w.episode
	// A value that comes back is not news, even if the core has come to expect it
	// where it was.
	if back := e.back(o.of(r)); o.surprise < o.threshold || back && e.bounded() && !o.firm {
		e.quiet = min(e.quiet+1, holdOff)
		e.inside++
		if !back {
			e.inside = 0
		}
		after := elapsed(e.start, r.Time)
		farthest := "; the farthest was " + quantity(e.peak.Value, unit)
		switch {
		case o.over:
			out = append(out, w.close(r.Time, r, quantity(r.Value, unit)+": back to what is usual after "+after))
		case e.inside >= quietReadings:
			out = append(out, w.close(r.Time, r, quantity(r.Value, unit)+": back to what is usual after "+after+farthest))
		case e.quiet >= holdOff:
			out = append(out, w.close(r.Time, r, quantity(r.Value, unit)+": taken as the new normal after "+after+farthest))
		}
		return out
	}
	e.quiet, e.inside = 0, 0
	score := ratio(o.surprise, o.threshold)
	if score > e.most {
		e.most, e.peak = score, r
	}
	if score >= e.emitted*worse {
		out = append(out, w.emit(Update, r, o, unit))
	}
	return out
}

// emit returns the verdict of an episode that opens or gets worse.
func (w *watch) emit(phase Phase, r Sample, o opinion, unit string) Verdict {
	e := &w.episode
	e.emitted = ratio(o.surprise, o.threshold)
	e.most, e.peak = e.emitted, r
	evidence := w.core.explain(r, &w.pace, o, unit)
	e.band = band{evidence.Baseline, evidence.Low, evidence.High}
	evidence.Value, evidence.Score, evidence.Samples = o.of(r), e.emitted, thin(w.recent[:w.n])
	return Verdict{Phase: phase, Start: e.start, Time: r.Time, Evidence: evidence}
}

// Tick closes an episode whose series is silent.
func (w *watch) Tick(now int64, unit string, out []Verdict) []Verdict {
	if due := w.Due(); due <= now {
		last := w.recent[w.n-1]
		out = append(out, unheard(w.close(due, last, silent(w.alarms.Silence, last, unit))))
	}
	return out
}

// Stop closes the open episode for the caller's reason.
func (w *watch) Stop(now int64, reason string, out []Verdict) []Verdict {
	if w.episode.emitted > 0 {
		out = append(out, w.close(max(now, w.pace.last), w.recent[w.n-1], reason))
	}
	return out
}

func (w *watch) close(at int64, r Sample, sentence string) Verdict {
	e := w.episode
	w.episode = episode{}
	samples := distinct(Sample{Time: e.peak.Time, Value: e.peak.Value}, r)
	return Verdict{Phase: Close, Start: e.start, Time: at, Evidence: Evidence{
		Value: r.Value, Baseline: e.baseline, Low: e.low, High: e.high, Samples: samples, Sentence: sentence,
	}}
}
