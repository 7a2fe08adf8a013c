package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What devices do wrong is a warning or an error to nats-server, and a device
// may do it thousands of times a second: of these lines so many are written in
// an interval, and the others are counted.
const (
	loudLines    = 50
	loudInterval = 10 * time.Second
)

// maxLine bounds the text of one line, in bytes: a device chooses its client id
// and its topics, and both come up in the log.
const maxLine = 256

// logger hands nats-server's log to slog. It never ends the process. Any number
// of goroutines may use it.
type logger struct {
	log *slog.Logger

	// denied counts the messages that were dropped because their sender may not
	// publish there. Nats-server reports them nowhere else.
	denied atomic.Uint64

	mu    sync.Mutex
	fatal string
	// begun is when the interval began, lines how many warnings and errors it
	// has, those left out among them.
	begun time.Time
	lines int
}

// deniedMark is in what nats-server logs about such a message.
const deniedMark = "Publish Violation"

func (l *logger) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *logger) Warnf(format string, args ...any)   { l.loud(slog.LevelWarn, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }

func (l *logger) Errorf(format string, args ...any) {
	if strings.Contains(format, deniedMark) {
		l.denied.Add(1)
	}
	l.loud(slog.LevelError, format, args)
}

func (l *logger) say(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "log of nats-server", "text", cut(fmt.Sprintf(format, args...)))
}

// cut shortens a text to maxLine, and says so.
func cut(text string) string {
	if len(text) <= maxLine {
		return text
	}
	return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(text[:maxLine], ""), len(text))
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

// may says whether another line may be written, and how many of the interval
// that has just ended were not.
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
	l.log.Error("nats-server cannot go on", "text", l.fatal)
}

// begin forgets why the previous server could not go on.
func (l *logger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = ""
}

// lastFatal is why the server could not go on, as far as it said so.
func (l *logger) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
