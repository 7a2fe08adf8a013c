package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headwater/proto/figure"
	"headwater/streams"
)

// Nats-server logs a warning or an error for each mistake of a device, and a device may
// make thousands a second. So many of these lines are written in an interval; the others
// are counted.
const (
	loudLines    = 50
	loudInterval = 10 * time.Second
)

// maxLine bounds the text of one line, in bytes: it may contain a client id or a topic,
// which a device chooses.
const maxLine = 256

// logger passes nats-server's log on to slog. It never ends the process. Any number of
// goroutines may use it.
type logger struct {
	log *slog.Logger

	// denied counts the messages that were dropped because their sender may not publish
	// there. Nats-server reports them nowhere else.
	denied atomic.Uint64
	// refused, if not nil, is called for each TLS handshake that fails.
	refused func(error)

	mu    sync.Mutex // guards what follows
	fatal string
	// losses are what consumers show to be missing, by stream.
	losses map[string]streams.Loss
	// begun is when the interval began. lines counts its warnings and errors, also those
	// that are not written.
	begun time.Time
	lines int
}

// deniedMark is part of the format that nats-server logs such a message with.
const deniedMark = "Publish Violation"

// handshakeMark is part of the format that nats-server logs a failed TLS handshake with.
// Its error is among the arguments. Connections without TLS it does not log.
const handshakeMark = "handshake error"

// lossMark is part of the format that nats-server logs with when a durable consumer has
// read more than its stream has: the stream has lost its end. Nats-server then sets the
// consumer back and reports the loss nowhere else. The arguments are account, stream,
// consumer, the last sequence that was delivered, and the last one of the stream.
const lossMark = "delivered sequence %d past last stream sequence"

// maxLosses bounds the streams whose losses are kept.
const maxLosses = 100

func (l *logger) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }

func (l *logger) Warnf(format string, args ...any) {
	if strings.Contains(format, lossMark) {
		l.noteLoss(args, time.Now())
	}
	l.loud(slog.LevelWarn, format, args)
}

// noteLoss keeps what a consumer of the services shows to be missing from its stream.
func (l *logger) noteLoss(args []any, now time.Time) {
	if len(args) != 5 || args[0] != AccountCore {
		return
	}
	stream, isName := args[1].(string)
	until, isSequence := args[3].(uint64)
	kept, isLast := args[4].(uint64)
	if !isName || !isSequence || !isLast {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.losses == nil {
		l.losses = make(map[string]streams.Loss)
	}
	before, found := l.losses[stream]
	if len(l.losses) < maxLosses || found {
		l.losses[stream] = streams.Loss{Stream: stream, Kept: kept, Until: max(until, before.Until), Noticed: now}
	}
}

// takeLosses returns the losses since the last call, by the name of the stream.
func (l *logger) takeLosses() []streams.Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.SortedFunc(maps.Values(l.losses), func(a, b streams.Loss) int { return strings.Compare(a.Stream, b.Stream) })
	l.losses = nil
	return all
}

func (l *logger) Errorf(format string, args ...any) {
	if strings.Contains(format, deniedMark) {
		l.denied.Add(1)
	}
	if l.refused != nil && strings.Contains(format, handshakeMark) {
		for _, arg := range args {
			if err, isError := arg.(error); isError {
				l.refused(err)
			}
		}
	}
	l.loud(slog.LevelError, format, args)
}

func (l *logger) say(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "log of nats-server", "text", figure.Clip(fmt.Sprintf(format, args...), maxLine))
}

func (l *logger) loud(level slog.Level, format string, args []any) {
	may, unsaid := l.may(time.Now())
	if unsaid > 0 {
		l.log.Warn("nats-server's log had more lines than were written", "more", unsaid)
	}
	if may {
		l.say(level, format, args)
	}
}

// may reports whether another line may be written. unsaid is how many lines of the
// previous interval were not, when a new one begins.
func (l *logger) may(now time.Time) (may bool, unsaid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.begun) >= loudInterval {
		unsaid = max(0, l.lines-loudLines)
		l.begun, l.lines = now, 0
	}
	l.lines++
	return l.lines <= loudLines, unsaid
}

func (l *logger) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, args...)
	l.log.Error("nats-server cannot continue", "text", l.fatal)
}

// begin forgets the fatal error of the previous server.
func (l *logger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = ""
}

// lastFatal is the fatal error of the server; empty if it logged none.
func (l *logger) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
