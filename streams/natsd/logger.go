package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// logger hands nats-server's log to slog. It never ends the process.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *logger) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *logger) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l *logger) Errorf(format string, args ...any)  { l.say(slog.LevelError, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }

func (l *logger) say(level slog.Level, format string, args []any) {
	l.log.Log(context.Background(), level, "log of nats-server", "text", fmt.Sprintf(format, args...))
}

func (l *logger) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, args...)
	l.log.Error("nats-server cannot go on", "text", l.fatal)
}

// lastFatal is why the server could not go on, as far as it said so.
func (l *logger) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
