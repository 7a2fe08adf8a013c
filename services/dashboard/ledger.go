package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/web/ledger"
	"headwater/web/view"
)

// ledgerSource implements ledger.Source. What the lanes have counted is in InfluxDB.
// What is still on its way is looked for downstream, so that nothing that moves on
// during the search is missed:
//
//  1. up to where the writers have stored TELEMETRY,
//  2. what the lanes have not entered yet,
//  3. the entries themselves.
type ledgerSource struct {
	js        jetstream.JetStream
	client    *influx.Client
	telemetry *streamReader
	// losses may be nil.
	losses *losses

	mu    sync.Mutex // guards what follows
	lanes map[int]*laneLedger
	// first is the first sequence of TELEMETRY that was seen.
	first    uint64
	answered time.Time
}

// laneLedger is what the streams hold for one lane.
type laneLedger struct {
	// first and last are the first and the last message of TELEMETRY that were
	// seen.
	first, last uint64
	// arrived is what arrived after the processor's last commit.
	arrived tally
	// committed is the position of that commit; 0 when none was seen.
	incarnation int64
	committed   uint64
	open        uint64
	openSince   int64
	// derived is the first message of DERIVED that was seen, entered the entries that
	// no writer had stored at the last look.
	derived uint64
	entered tally
	// seen is the last message of DERIVED that was seen.
	seen uint64
}

func newLedger(js jetstream.JetStream, client *influx.Client) *ledgerSource {
	return &ledgerSource{js: js, client: client, lanes: make(map[int]*laneLedger)}
}

// lane returns what is known of a lane. The lock is held.
func (l *ledgerSource) lane(n int) *laneLedger {
	lane := l.lanes[n]
	if lane == nil {
		lane = new(laneLedger)
		l.lanes[n] = lane
	}
	return lane
}

// batch adds a message of TELEMETRY.
func (l *ledgerSource) batch(n int, sequence uint64, b *telemetryv1.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == 0 || sequence < l.first {
		l.first = sequence
	}
	lane := l.lane(n)
	if sequence <= lane.last { // the stream was recreated, or lost its end
		*lane = laneLedger{derived: lane.derived, entered: lane.entered, seen: lane.seen}
	}
	if lane.first == 0 {
		lane.first = sequence
	}
	lane.last = sequence
	if sequence > lane.committed {
		lane.arrived.add(tallied{sequence, b.Total(), b.GetArrival()})
	}
}

// commit adds a message of DERIVED.
func (l *ledgerSource) commit(n int, sequence uint64, c *derivedv1.Commit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := l.lane(n)
	if sequence <= lane.seen { // the stream was recreated, or lost its end
		lane.derived, lane.entered = 0, tally{}
	}
	lane.seen = sequence
	if in := c.GetInput().GetIncarnation(); in != lane.incarnation {
		lane.incarnation, lane.committed = in, 0
	}
	lane.committed = c.GetInput().GetSequence()
	lane.open, lane.openSince = c.GetLedgerOpen(), c.GetLedgerOpenSince()
	lane.arrived.through(lane.committed)
	if lane.derived == 0 || sequence < lane.derived {
		lane.derived = sequence
	}
	entries := tallied{sequence: sequence}
	for _, e := range c.GetLedger() {
		if entries.n == 0 || e.GetMinute() < entries.since {
			entries.since = e.GetMinute()
		}
		entries.n += e.GetReadings() + e.GetRejected() + e.GetMissing()
	}
	lane.entered.add(entries)
}

// Ledger implements ledger.Source.
func (l *ledgerSource) Ledger(ctx context.Context, q ledger.Query) (ledger.Ledger, error) {
	out := ledger.Ledger{From: q.From, To: q.To}
	way, floor, err := l.onTheWay(ctx)
	if err != nil {
		l.mu.Lock()
		out.Answered = l.answered
		l.mu.Unlock()
		out.OnTheWay = ledger.OnTheWay{Unknown: reason(err)}
		return out, fmt.Errorf("%w: NATS does not answer (%s)", view.ErrUnavailable, reason(err))
	}
	if l.losses != nil {
		lost := l.losses.within(q.From, q.To)
		if way.Unknown != "" {
			lost = append([]string{way.Unknown}, lost...)
		}
		way.Unknown = strings.Join(lost, "; ")
	}
	out.OnTheWay = way
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	err = l.read(ctx, q, floor, &out)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		out.Answered = l.answered
		err = unavailable(err)
		if errors.Is(err, view.ErrUnavailable) {
			return out, fmt.Errorf("%w: InfluxDB does not answer (%s)", view.ErrUnavailable, influxReason(err))
		}
		return out, err
	}
	l.answered = time.Now()
	out.Answered = l.answered
	out.Totals.Exact = out.Totals.InFlight == 0 && way.Unknown == "" && (way.Since.IsZero() || !way.Since.Before(q.To))
	return out, nil
}

// onTheWay looks downstream for what is on its way. Floor is the sequence of
// TELEMETRY up to which everything is stored or a dead letter.
func (l *ledgerSource) onTheWay(ctx context.Context) (way ledger.OnTheWay, floor uint64, err error) {
	if l.js.Conn().Status() != nats.CONNECTED {
		return way, 0, nats.ErrNoResponders
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var unknown []string
	since := int64(math.MaxInt64)
	telemetry, err := streamInfo(ctx, l.js, streams.StreamTelemetry)
	if err != nil {
		return way, 0, err
	}
	writer, err := l.js.Consumer(ctx, streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		return way, 0, err
	}
	floor, err = streams.ProcessedThrough(ctx, l.js, writer.CachedInfo(), telemetry.State.LastSeq)
	if err != nil {
		return way, 0, err
	}
	// Messages that were acknowledged out of order are among them.
	way.Storing = telemetry.State.LastSeq - min(telemetry.State.LastSeq, floor)
	floors, err := l.floors(ctx)
	if err != nil {
		return way, 0, err
	}
	if !l.followed(ctx, telemetry.State.LastSeq) {
		unknown = append(unknown, "the dashboard is still reading TELEMETRY")
	}
	unknown = append(unknown, l.inLanes(&way, &since, telemetry.State.FirstSeq, floors)...)
	if since != math.MaxInt64 {
		way.Since = time.Unix(0, since).Truncate(time.Minute)
	}
	way.Unknown = strings.Join(unknown, "; ")
	return way, floor, nil
}

func streamInfo(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// derivedFloor is the sequence up to which the writers have stored a lane of DERIVED,
// and the first message of the lane.
type derivedFloor struct{ floor, first uint64 }

// floors returns the floor of each lane.
func (l *ledgerSource) floors(ctx context.Context) (map[int]derivedFloor, error) {
	stream, err := l.js.Stream(ctx, streams.StreamDerived)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	out := make(map[int]derivedFloor)
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		number, ok := strings.CutPrefix(c.Name, streams.ConsumerWriter+"-")
		lane, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		floor, err := streams.ProcessedThrough(ctx, l.js, c, state.LastSeq)
		if err != nil {
			return nil, err
		}
		out[lane] = derivedFloor{floor, state.FirstSeq}
	}
	return out, list.Err()
}

// followWithin is how long a request waits until the dashboard has read the stream to
// its end.
const followWithin = 2 * time.Second

// followed waits until TELEMETRY has been read up to a sequence, and reports whether
// it has.
func (l *ledgerSource) followed(ctx context.Context, sequence uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	for !l.telemetry.reached(sequence) {
		if ctx.Err() != nil {
			return false
		}
		process.Sleep(ctx, 5*time.Millisecond)
	}
	return true
}

// inLanes adds what the lanes have not entered yet, and the entries that are not
// stored yet. It returns in words what cannot be known.
func (l *ledgerSource) inLanes(way *ledger.OnTheWay, since *int64, firstTelemetry uint64, floors map[int]derivedFloor) (unknown []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	earlier := func(n uint64, t int64) uint64 {
		if n > 0 {
			*since = min(*since, t)
		}
		return n
	}
	blind := 0
	for n, lane := range l.lanes {
		way.Counting += earlier(lane.open, lane.openSince) + earlier(lane.arrived.above(lane.committed))
		// What arrived before the dashboard began to read is known from the first commit
		// that covers it.
		uncovered := lane.first > 0 && lane.committed < lane.first && l.first > firstTelemetry
		floor, ok := floors[n]
		if ok {
			lane.entered.through(floor.floor)
		}
		way.Entering += earlier(lane.entered.above(0))
		unread := ok && lane.derived > floor.first && floor.floor+1 < lane.derived
		if uncovered || unread || !ok {
			blind++
		}
	}
	if blind > 0 {
		unknown = append(unknown, fmt.Sprintf("what came earlier is not known yet for %d of %d lanes", blind, len(l.lanes)))
	}
	return unknown
}

const (
	ledgerSums  = `SELECT sum("readings") AS "readings", sum("rejected") AS "rejected", sum("missing") AS "missing", sum("refused") AS "refused", sum("conflicts") AS "conflicts" FROM $measurement`
	ledgerAbove = `SELECT sum("readings") AS "flight" FROM $measurement`
)

// read queries InfluxDB for the totals and the rows.
func (l *ledgerSource) read(ctx context.Context, q ledger.Query, floor uint64, out *ledger.Ledger) error {
	var where strings.Builder
	where.WriteString(` WHERE time >= $from AND time < $to`)
	p := influx.Params{"measurement": influx.Ident(influx.MeasurementLedger), "from": q.From, "to": q.To, "floor": int64(floor)}
	for name, value := range map[string]string{"site": q.Site, "device": q.Device} {
		if value != "" {
			where.WriteString(` AND "` + name + `" = $` + name)
			p[name] = value
		}
	}
	var sites []string
	for i, site := range q.Sites {
		name := "site" + strconv.Itoa(i)
		sites = append(sites, `"site" = $`+name)
		p[name] = site
	}
	if sites != nil {
		where.WriteString(` AND (` + strings.Join(sites, " OR ") + `)`)
	}
	flight := where.String() + ` AND "last" > $floor`
	by := ` GROUP BY "site", "device"`
	if q.Group == ledger.ByMinute {
		by = ` GROUP BY time(1m) fill(none)`
	}
	answer, err := l.client.Query(ctx, l.client.Database(), influx.PolicyLedger, strings.Join([]string{
		ledgerSums + where.String(), ledgerAbove + flight, ledgerSums + where.String() + by, ledgerAbove + flight + by,
	}, "; "), p)
	if err != nil {
		if strings.Contains(err.Error(), "not found") { // nothing has been entered yet
			return nil
		}
		return err
	}
	rows := make(map[ledger.Row]*ledger.Row)
	for _, s := range answer {
		for i := range s.Values {
			if s.Statement < 2 {
				addFigures(&out.Totals.Figures, s, i)
				continue
			}
			key := ledger.Row{Site: s.Tags["site"], Device: s.Tags["device"]}
			if q.Group == ledger.ByMinute {
				key.Minute = time.Unix(0, s.Times[i]).UTC()
			}
			row := rows[key]
			if row == nil {
				row = &ledger.Row{Site: key.Site, Device: key.Device, Minute: key.Minute}
				rows[key] = row
			}
			addFigures(&row.Figures, s, i)
		}
	}
	out.Totals.Rest()
	out.Matching = len(rows)
	all := make([]ledger.Row, 0, len(rows))
	for _, row := range rows {
		row.Rest()
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b ledger.Row) int {
		return cmp.Or(b.Minute.Compare(a.Minute), strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device))
	})
	begin := min(len(all), (q.Page-1)*q.Size)
	out.Rows = all[begin:min(len(all), begin+q.Size)]
	return nil
}

// addFigures adds row i of an answer.
func addFigures(f *ledger.Figures, s influx.Series, i int) {
	for c, name := range s.Columns {
		v, ok := s.Values[i][c].(float64)
		if !ok {
			continue
		}
		n := uint64(max(0, v))
		switch name {
		case "readings":
			f.Received += n
		case "rejected":
			f.Received, f.Rejected = f.Received+n, f.Rejected+n
		case "missing":
			f.Received, f.Missing = f.Received+n, f.Missing+n
		case "refused":
			f.Refused += n
		case "conflicts":
			f.Conflicts += n
		case "flight":
			f.InFlight += n
		}
	}
}
