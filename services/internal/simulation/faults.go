package simulation

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Odds is how often each fault happens to a call, in parts of a thousand calls.
type Odds struct {
	// Lost: the request never arrives. Unanswered: it is carried out, and its
	// answer is lost. Late: it is carried out after the caller has given up.
	// Refused: the connection is known to be broken at once.
	Lost, Unanswered, Late, Refused int
	// Stall: the call takes seconds. Crash: the process dies at the call, before
	// or after it is carried out.
	Stall, Crash int
	// Faults of readers are drawn for each message. Break: the iterator fails.
	// Reset: the connection was lost with what was on the wire; an ordered
	// consumer by itself begins again after the last message it returned, while a
	// durable one continues with later messages. Repeat: a durable consumer
	// delivers again what it considers lost, an ordered one repeats its last
	// message. Skip: an ordered one skips a message.
	Break, Reset, Repeat, Skip int
}

// fault is what happens to one call.
type fault int

const (
	none fault = iota
	lost
	unanswered
	late
	refused
	stall
	crashBefore
	crashAfter
)

// answerTime is how long a caller without a deadline waits: the default of
// nats.go.
const answerTime = 5 * time.Second

// process is one process as seen through its connection.
type process struct {
	cluster *Cluster
	seed    uint64
	name    string
	// crash is called once, when the process dies.
	crash func()

	mu   sync.Mutex
	odds Odds
	dead bool
	// deaf are the kinds of calls that get no answer.
	deaf map[string]bool
	made map[string]uint64
	// listeners learn when the connection is lost.
	listeners []chan nats.Status
}

func (p *process) listen() chan nats.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	listener := make(chan nats.Status, 1)
	p.listeners = append(p.listeners, listener)
	return listener
}

func (p *process) unlisten(listener chan nats.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = slices.DeleteFunc(p.listeners, func(l chan nats.Status) bool { return l == listener })
	close(listener)
}

func (p *process) tell(status nats.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners {
		select {
		case l <- status:
		default:
		}
	}
}

// draw returns a source of randomness for the next call of the kind.
func (p *process) draw(kind string) (*rand.Rand, Odds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[kind]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.name + "/" + kind + "/" + strconv.FormatUint(p.made[kind], 10)))
	return rand.New(rand.NewPCG(p.seed, h.Sum64())), p.odds
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) isDeaf(kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deaf[kind]
}

// die ends the process: its calls have no effect from now on.
func (p *process) die() {
	p.mu.Lock()
	before := p.dead
	p.dead = true
	p.mu.Unlock()
	if !before && p.crash != nil {
		p.crash()
	}
}

func pick(rng *rand.Rand, o Odds) fault {
	n := rng.IntN(1000)
	for _, f := range []struct {
		odds int
		fault
	}{{o.Lost, lost}, {o.Unanswered, unanswered}, {o.Late, late}, {o.Refused, refused}, {o.Stall, stall}, {o.Crash, crashBefore}} {
		n -= f.odds
		if n < 0 {
			if f.fault == crashBefore && rng.IntN(2) == 0 {
				return crashAfter
			}
			return f.fault
		}
	}
	return none
}

// Kinds of calls.
const (
	kindPublish = "publish"
	kindStream  = "stream"
	kindObject  = "object"
	kindRead    = "read"
	// Requests about durable consumers, and acknowledgements.
	kindConsumer = "consumer"
	kindAck      = "ack"
	// The kind of a call to a bucket is this and the bucket's name.
	kindBucket = "bucket "
)

// call carries out what a process asks of the cluster, as far as faults let it.
func call[T any](ctx context.Context, p *process, kind string, do func() (T, error)) (T, error) {
	var zero T
	if p.isDead() {
		return zero, nats.ErrConnectionClosed
	}
	ctx, cancel := withAnswerTime(ctx)
	defer cancel()
	rng, odds := p.draw(kind)
	f := pick(rng, odds)
	if p.isDeaf(kind) {
		f = lost
	}
	there, back := travel(rng), travel(rng)
	switch f {
	case refused:
		if err := sleep(ctx, there); err != nil {
			return zero, err
		}
		return zero, nats.ErrConnectionReconnecting
	case lost:
		<-ctx.Done()
		return zero, ctx.Err()
	case stall:
		there += time.Duration(rng.Int64N(int64(4 * time.Second)))
	case late:
		time.AfterFunc(answerTime+time.Duration(rng.Int64N(int64(6*time.Second))), func() {
			if p.cluster.state(kind) == none {
				_, _ = do()
			}
		})
		<-ctx.Done()
		return zero, ctx.Err()
	case crashBefore:
		p.die()
		return zero, nats.ErrConnectionClosed
	}
	if err := sleep(ctx, there); err != nil {
		return zero, err
	}
	if p.isDead() {
		return zero, nats.ErrConnectionClosed
	}
	switch p.cluster.state(kind) {
	case refused:
		return zero, nats.ErrConnectionReconnecting
	case lost:
		<-ctx.Done()
		return zero, ctx.Err()
	}
	result, err := do()
	switch f {
	case crashAfter:
		p.die()
	case unanswered:
		<-ctx.Done()
		return zero, ctx.Err()
	}
	if err := sleep(ctx, back); err != nil {
		return zero, err
	}
	if p.isDead() {
		return zero, nats.ErrConnectionClosed
	}
	return result, err
}

func withAnswerTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, answerTime)
}

// travel is how long a message is on its way: rarely the same time twice.
func travel(rng *rand.Rand) time.Duration {
	return 100*time.Microsecond + time.Duration(rng.Int64N(int64(2*time.Millisecond)))
}

func sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// errBroken is returned by an iterator that a fault broke.
var errBroken = errors.New("simulated: the reader broke off")
