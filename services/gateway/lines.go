package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/services/decode"
	"headwater/services/gateway/pattern"
	"headwater/services/internal/credentials"
	"headwater/services/internal/process"
)

// LinesConfig is where devices send lines of text, and how these are read.
type LinesConfig struct {
	TCP         string        `name:"tcp" placeholder:"ADDRESS" env:"HEADWATER_GATEWAY_LINES_TCP"`
	UDP         string        `name:"udp" placeholder:"ADDRESS" env:"HEADWATER_GATEWAY_LINES_UDP"`
	Pattern     []string      `name:"pattern" sep:"none" env:"HEADWATER_GATEWAY_LINES_PATTERN"`
	Site        string        `name:"site" help:"Site of lines that name none." default:"default" env:"HEADWATER_GATEWAY_LINES_SITE"`
	Device      string        `name:"device" help:"Device of lines that name none." env:"HEADWATER_GATEWAY_LINES_DEVICE"`
	Connections int           `name:"connections" help:"Connections at once." default:"256" env:"HEADWATER_GATEWAY_LINES_CONNECTIONS"`
	Idle        time.Duration `name:"idle" help:"How long a connection may send nothing." default:"10m" env:"HEADWATER_GATEWAY_LINES_IDLE"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (LinesConfig) FlagHelp() map[string]string {
	return map[string]string{
		"TCP": "Take lines of text over TCP at this address, each answered with OK when it is stored, or with the reason. Off " +
			"without an address. Senders on other machines begin with a line AUTH and their token.",
		"UDP": "The same over UDP, without answers: one or more lines in each datagram.",
		"Pattern": "How a line is read; may be repeated, and the first that fits counts. csv:site,device,temperature divides it, " +
			"fields reads name=value, regexp:… has named groups. site, device, metric, value, unit and ts say what a part is; any " +
			"other name is a metric, _ is left out.",
	}
}

// problems returns what is wrong with the configuration.
func (c LinesConfig) problems() []error {
	if c.TCP == "" && c.UDP == "" {
		return nil
	}
	var errs []error
	if _, err := pattern.Parse(c.Pattern...); err != nil {
		errs = append(errs, fmt.Errorf("lines-pattern: %w", err))
	}
	if len(c.Pattern) == 0 {
		errs = append(errs, errors.New("lines-pattern: must say how a line is read"))
	}
	if c.Connections < 1 {
		errs = append(errs, errors.New("lines-connections: must be more than 0"))
	}
	if c.Idle <= 0 {
		errs = append(errs, errors.New("lines-idle: must be more than 0s"))
	}
	return errs
}

const (
	// maxLine bounds a line, in bytes.
	maxLine = 4096
	// maxLinesAtOnce bounds the lines of a connection in one request, maxDatagrams the
	// datagrams that wait for the stream.
	maxLinesAtOnce = 1000
	maxDatagrams   = 64
	// acceptPause is the pause after a connection that could not be accepted, or a datagram
	// that could not be read.
	acceptPause = 50 * time.Millisecond
	// logInWithin is how long a sender that has to log in may take to do it, whatever it
	// sends meanwhile.
	logInWithin = 10 * time.Second
	// answerWithin bounds how long a sender may take to read its answers.
	answerWithin = 10 * time.Second
)

// lineServer takes lines over TCP and UDP.
type lineServer struct {
	*Service
	patterns pattern.Patterns
}

// runLines takes lines until ctx ends.
func (s *Service) runLines(ctx context.Context) error {
	patterns, err := pattern.Parse(s.cfg.Lines.Pattern...)
	if err != nil {
		return err
	}
	l := &lineServer{s, patterns}
	var wg sync.WaitGroup
	defer wg.Wait()
	var listen net.ListenConfig
	if at := s.cfg.Lines.TCP; at != "" {
		tcp, err := listen.Listen(ctx, "tcp", at)
		if err != nil {
			return fmt.Errorf("listen for lines: %w", err)
		}
		defer tcp.Close()
		wg.Go(func() { l.accept(ctx, tcp) })
		s.log.Info("lines are taken over TCP", "address", tcp.Addr().String())
	}
	if at := s.cfg.Lines.UDP; at != "" {
		udp, err := listen.ListenPacket(ctx, "udp", at)
		if err != nil {
			return fmt.Errorf("listen for lines: %w", err)
		}
		defer udp.Close()
		wg.Go(func() { l.datagrams(ctx, udp) })
		s.log.Info("lines are taken over UDP", "address", udp.LocalAddr().String())
	}
	<-ctx.Done()
	return nil
}

// accept serves connections until the listener is closed, and waits for them.
func (l *lineServer) accept(ctx context.Context, tcp net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	defer stop()
	free := make(chan struct{}, l.cfg.Lines.Connections)
	for {
		conn, err := tcp.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Such as too many open files: others may close.
			process.Sleep(ctx, acceptPause)
			continue
		}
		select {
		case free <- struct{}{}:
			wg.Go(func() {
				defer func() { <-free }()
				defer conn.Close()
				l.serve(ctx, conn)
			})
		default:
			_, _ = io.WriteString(conn, "ERROR too many connections\n")
			conn.Close()
		}
	}
}

// serve reads lines from a connection and answers each in order.
func (l *lineServer) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	remote := conn.RemoteAddr().String()
	in := bufio.NewReaderSize(conn, 64<<10)
	who := l.stranger(remote)
	decoder := l.readers.Get().(*reader)
	defer l.readers.Put(decoder)
	stranger := time.Now() // since when it is one
	for ctx.Err() == nil {
		now := time.Now()
		if who.refused == "" {
			stranger = now
		}
		until := now.Add(l.cfg.Lines.Idle)
		if latest := stranger.Add(logInWithin); who.refused != "" && latest.Before(until) {
			until = latest
		}
		_ = conn.SetReadDeadline(until)
		if ctx.Err() != nil {
			return
		}
		lines, err := readLines(in)
		answers := l.take(decoder.decoder, remote, &who, lines)
		_ = conn.SetWriteDeadline(time.Now().Add(answerWithin))
		if _, failed := io.WriteString(conn, answers); failed != nil || err != nil {
			return
		}
	}
}

// readLines waits for a line and returns it with those that came with it. With an error it
// may return lines too.
func readLines(in *bufio.Reader) ([][]byte, error) {
	var lines [][]byte
	for len(lines) == 0 || len(lines) < maxLinesAtOnce && hasLine(in) {
		line, err := in.ReadSlice('\n')
		switch {
		case len(line) > maxLine:
			return append(lines, nil), errors.New("the line is too long")
		case err != nil:
			// A line without its end may lack digits.
			return lines, err
		}
		lines = append(lines, bytes.Clone(line))
	}
	return lines, nil
}

// hasLine reports whether a whole line has arrived.
func hasLine(in *bufio.Reader) bool {
	waiting, _ := in.Peek(in.Buffered())
	return bytes.IndexByte(waiting, '\n') >= 0
}

// lineSender is who sends lines.
type lineSender struct {
	credential credentials.Credential
	// token is what the sender has proved it with; empty for a stranger.
	token string
	// refused says why nothing is taken; empty if it is.
	refused string
}

// stranger is a sender that has not said who it is. It must be on this machine.
func (l *lineServer) stranger(remote string) lineSender {
	if l.cfg.Anonymous == AnonymousNone || !loopback(remote) {
		return lineSender{refused: "log in first: send AUTH and the token of a credential"}
	}
	return lineSender{}
}

// logIn returns the sender that a token proves.
func (l *lineServer) logIn(token string) lineSender {
	c, known := l.credentials.ByToken(token)
	if !known || c.State == credentials.StateRevoked {
		return lineSender{refused: "the token is unknown, or its credential revoked"}
	}
	if _, ok := c.Accepts(token, time.Now()); !ok {
		return lineSender{refused: "the token is unknown, or its credential revoked"}
	}
	return lineSender{credential: c, token: token}
}

// take stores lines of a sender and returns the answers, one for each.
func (l *lineServer) take(d *decode.Decoder, remote string, who *lineSender, lines [][]byte) string {
	if who.token != "" {
		*who = l.logIn(who.token) // it may have been revoked since
	}
	answers := make([]string, len(lines))
	arrival := time.Now().UnixNano()
	var items []decode.Item
	for i, line := range lines {
		text := strings.TrimSpace(string(line))
		token, auth := strings.CutPrefix(text, "AUTH ")
		switch {
		case line == nil:
			answers[i] = "the line has more than " + strconv.Itoa(maxLine) + " bytes"
		case text == "":
			answers[i] = "the line is empty"
		case auth && len(items) == 0:
			*who = l.logIn(strings.TrimSpace(token))
			answers[i] = who.refused
		case auth:
			answers[i] = "AUTH must come first"
		case who.refused != "":
			answers[i] = who.refused
		default:
			item := l.item(d, text, who.credential, arrival)
			item.Index = i
			items = append(items, item)
		}
	}
	l.keep(remote, who.credential, items, arrival, answers)
	var out strings.Builder
	for _, a := range answers {
		if a == "" {
			out.WriteString("OK\n")
		} else {
			out.WriteString("ERROR " + a + "\n")
		}
	}
	return out.String()
}

// keep stores items and sets the answers of those that are not stored.
func (l *lineServer) keep(remote string, from credentials.Credential, items []decode.Item, arrival int64, answers []string) {
	if len(items) == 0 {
		return
	}
	fail := func(why string) {
		for _, item := range items {
			answers[item.Index] = why
		}
	}
	if err := l.refusal(); err != nil {
		fail(err.Error())
		return
	}
	if f := l.quotas.fromAddress(remote, time.Now()); f != nil {
		fail(f.Error)
		return
	}
	items = l.judge(from, items)
	indexes := make([]int, len(items))
	for i := range items {
		indexes[i] = items[i].Index
		if items[i].Err != nil {
			answers[items[i].Index] = items[i].Err.Error()
		}
	}
	if _, f := l.admit(remote, items, &request{arrival: arrival}); f != nil {
		for _, i := range indexes {
			if answers[i] == "" {
				answers[i] = f.Error
			}
		}
	}
}

// item reads a line.
func (l *lineServer) item(d *decode.Decoder, text string, from credentials.Credential, arrival int64) decode.Item {
	said, err := l.patterns.Read(text)
	item := decode.Item{Site: said.Site, Device: said.Device}
	if err != nil {
		item.Err = &decode.Error{Reason: decode.ReasonPayload, Detail: err.Error()}
		return item
	}
	if len(from.Devices) == 1 && from.Devices[0].Exact() {
		item.Site, item.Device = or(item.Site, from.Devices[0].Site), or(item.Device, from.Devices[0].Device)
	}
	item.Site, item.Device = or(item.Site, l.cfg.Lines.Site), or(item.Device, l.cfg.Lines.Device)
	when, fault := lineTime(d, item, said.Time, arrival)
	for _, v := range said.Values {
		if fault != nil {
			break
		}
		var r decode.Reading
		r, fault = lineReading(d, item, v, said.Unit, when, arrival)
		item.Readings = append(item.Readings, r)
	}
	if fault != nil {
		item.Err, item.Readings = fault, nil
	}
	return item
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// lineTime reads the time of a line; 0 if it has none.
func lineTime(d *decode.Decoder, item decode.Item, text string, arrival int64) (int64, *decode.Error) {
	if text == "" {
		return 0, nil
	}
	readings, err := d.Append(nil, item.Site, item.Device, "ts", []byte(`{"value":0,"ts":`+strconv.Quote(text)+`}`), arrival)
	if err != nil {
		return 0, asFault(err)
	}
	return readings[0].Time, nil
}

// lineReading reads one value of a line.
func lineReading(d *decode.Decoder, item decode.Item, v pattern.Value, unit string, when, arrival int64) (decode.Reading, *decode.Error) {
	readings, err := d.Append(nil, item.Site, item.Device, v.Metric, []byte(v.Text), arrival)
	if err != nil {
		return decode.Reading{}, asFault(err)
	}
	if len(readings) != 1 {
		return decode.Reading{}, &decode.Error{Reason: decode.ReasonPayload, Field: v.Metric, Detail: "it is not one value"}
	}
	r := readings[0]
	r.Unit, r.Time = or(unit, r.Unit), when
	return r, d.Admit(item.Site, item.Device, &r, arrival)
}

func asFault(err error) *decode.Error {
	if fault, ok := errors.AsType[*decode.Error](err); ok {
		return fault
	}
	return &decode.Error{Reason: decode.ReasonPayload, Detail: err.Error()}
}

// datagrams takes lines over UDP until the socket is closed. Nobody is answered; what
// cannot be stored is counted.
func (l *lineServer) datagrams(ctx context.Context, udp net.PacketConn) {
	stop := context.AfterFunc(ctx, func() { _ = udp.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, maxDatagrams)
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := udp.ReadFrom(buffer)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// An answer to somebody else; nothing of the socket is lost.
			process.Sleep(ctx, acceptPause)
			continue
		}
		select {
		case free <- struct{}{}:
		default:
			l.metrics.lost.Add(float64(max(1, bytes.Count(buffer[:n], []byte{'\n'}))))
			continue
		}
		body := bytes.Clone(buffer[:n])
		wg.Go(func() {
			defer func() { <-free }()
			l.datagram(from.String(), body)
		})
	}
}

func (l *lineServer) datagram(remote string, body []byte) {
	decoder := l.readers.Get().(*reader)
	defer l.readers.Put(decoder)
	var lines [][]byte
	for line := range bytes.Lines(body) {
		if len(bytes.TrimSpace(line)) > 0 && len(lines) < maxLinesAtOnce {
			lines = append(lines, line)
		}
	}
	who := l.stranger(remote)
	answers := l.take(decoder.decoder, remote, &who, lines)
	l.metrics.lost.Add(float64(strings.Count(answers, "ERROR ")))
}
