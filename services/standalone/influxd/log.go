package influxd

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns a logger for InfluxDB's parts that passes warnings and errors on.
// What they log at info is of no use to people who run Headwater.
func newLogger(log *slog.Logger) *zap.Logger { return zap.New(&core{log: log}) }

// core implements zapcore.Core.
type core struct{ log *slog.Logger }

func (c *core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log.With(attrs(fields)...)}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "log of InfluxDB", append([]any{"text", e.Message}, attrs(fields)...)...)
	return nil
}

func (c *core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]any, 0, 2*len(enc.Fields))
	for _, f := range fields {
		v, ok := enc.Fields[f.Key]
		if !ok {
			continue
		}
		key := f.Key
		if key == "error" {
			key = "err"
		}
		out = append(out, slog.Any(key, v))
		delete(enc.Fields, f.Key)
	}
	return out
}
