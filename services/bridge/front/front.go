// Package front is what devices connect to. It passes their packets on to nats-server's
// MQTT listener, and translates what that does not take:
//
//   - Nats-server speaks MQTT 3.1.1. Clients of MQTT 3.1, of MQTT 5, and Mosquitto when it
//     bridges are answered in their own form.
//   - Client ids and topics are mapped to those that nats-server takes, and back: see
//     package escape.
//   - What a client may send is bounded before nats-server sees it: connections and the
//     rate of new ones, the first packet, topics, payloads.
//   - Nats-server sees the address of the front. The address of the client travels to
//     package login in the name of the user, sealed with a key of the bridges.
//
// Each connection has one to nats-server, and one goroutine for each direction. The front
// stops reading from one side while the other one does not read. When nats-server closes a
// connection, the front closes the client's, and the other way round.
//
// Most messages with QoS 1 need nats-server only to get to the bridges. The front sends those
// on one connection for all clients, as nats-server would, and acknowledges them when a bridge
// has stored them (see direct). Every other acknowledgement is nats-server's own.
//
// What MQTT 3.1.1 does not have is lost: properties of messages, such as their expiry;
// options of subscriptions; the delay of a will. A client may not use topic aliases,
// shared subscriptions and subscription identifiers; the answer to its CONNECT says so.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/bridge/login"
	"headwater/services/internal/brake"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	// connectWithin bounds the time until a client has sent its first packet, TLS
	// included; answerWithin is for nats-server's answer, and writeWithin for each write
	// to a client.
	connectWithin = 5 * time.Second
	answerWithin  = 15 * time.Second
	writeWithin   = 10 * time.Second
	// settleWithin is how long what a client has sent may take to be acknowledged when
	// the front stops; lingerFor is how long the rest of a connection is read after its
	// end, so that what was written last arrives.
	settleWithin = 2 * time.Second
	lingerFor    = time.Second
	// longestHold bounds how long a message waits because its device sends too much, so
	// that the connection stays alive.
	longestHold = 5 * time.Second

	// maxPacket bounds any packet of a client, in bytes.
	maxPacket = streams.MaxDevicePayload + maxControl
)

// Config bounds the connections.
type Config struct {
	Connections    int `name:"mqtt-connections" help:"Connections of devices to the front at a time." default:"20000"`
	PerAddress     int `name:"mqtt-connections-per-address" default:"5000"`
	ConnectsPerSec int `name:"mqtt-connect-rate" default:"100"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"PerAddress": "Connections to the front at a time from one address other than this machine's own. Everybody behind one " +
			"router or proxy shares an address.",
		"ConnectsPerSec": "Connects to the front in a second from one address other than this machine's own; ten seconds of them " +
			"may come at once.",
	}
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var problems []error
	for flag, n := range map[string]int{"mqtt-connections": c.Connections, "mqtt-connections-per-address": c.PerAddress, "mqtt-connect-rate": c.ConnectsPerSec} {
		if n < 1 || n > 1_000_000 {
			problems = append(problems, fmt.Errorf("%s: %d is not within 1 and 1000000", flag, n))
		}
	}
	return errors.Join(problems...)
}

// Deps is what a Front needs.
type Deps struct {
	// Server is the address of nats-server's MQTT listener, host:port.
	Server string
	// TLS is for the connections of clients.
	TLS TLS
	// Seal seals where clients come from.
	Seal login.Seal
	// Direct, if not nil, is a connection to the account of the devices, of the front alone.
	// On it the front stores messages with QoS 1, unless MayPublish says of a client, which
	// nats-server has admitted, that it may not publish them. MayPublish returns nil for a
	// client that it does not know.
	Direct     *nats.Conn
	MayPublish func(login.Device) func(subject string) bool
	// Wait, if not nil, returns how long a message on a topic has to wait because its device
	// sends too much; 0 if it need not. It is called for every message.
	Wait func(topic string) time.Duration
	// Refused, if not nil, is called for each client that is refused. It must return at
	// once.
	Refused func(Refused)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// TLS is how clients connect with TLS; the zero TLS is for clients without it.
type TLS struct {
	// Config, if not nil, is used for clients that begin with TLS.
	Config *tls.Config
	// PlainToo takes clients without TLS on the same port.
	PlainToo bool
	// Refused, if not nil, is called for each handshake that fails; it must not block.
	Refused func(error)
}

// Front passes packets between clients and nats-server.
type Front struct {
	deps    Deps
	limiter *limiter
	gate    *gate
	endings *endings
	// direct is nil if nats-server stores everything.
	direct *direct
	// within bounds the time until a client has sent its first packet, patience that until
	// nats-server takes it.
	within, patience time.Duration

	open    prometheus.Gauge
	refused *prometheus.CounterVec
	opened  *prometheus.CounterVec
}

// New returns a front that does nothing until Run.
func New(cfg Config, deps Deps) (*Front, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Refused == nil {
		deps.Refused = func(Refused) {}
	}
	if deps.Wait == nil {
		deps.Wait = func(string) time.Duration { return 0 }
	}
	most := cfg.Connections
	if byFiles := connectionsWith(process.OpenFiles()); byFiles < most {
		deps.Log.Info("the limit of open files bounds how many devices can connect; raise it with ulimit -n", "connections", byFiles)
		most = byFiles
	}
	metrics := promauto.With(deps.Metrics)
	name := func(name string) string { return prometheus.BuildFQName("headwater", "bridge", name) }
	f := &Front{
		deps: deps, within: connectWithin, patience: turnWithin, gate: newGate(connectsAtOnce), endings: newEndings(), limiter: newLimiter(most, cfg.PerAddress, cfg.ConnectsPerSec),
		open: metrics.NewGauge(prometheus.GaugeOpts{Name: name("front_connections"), Help: "Connections of devices that are open."}),
		refused: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: name("front_refused_total"), Help: "Connections of devices that were refused or closed because of what they sent, by reason.",
		}, []string{"reason"}),
		opened: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: name("front_connects_total"), Help: "Connections of devices that nats-server has admitted, by version of MQTT.",
		}, []string{"version"}),
	}
	stored := metrics.NewCounter(prometheus.CounterOpts{
		Name: name("front_messages_total"), Help: "Messages with QoS 1 that the front gave to the bridges itself, without nats-server's listener.",
	})
	if deps.Direct != nil {
		f.direct = newDirect(deps.Direct, stored)
	}
	for _, reason := range Reasons() {
		f.refused.WithLabelValues(string(reason))
	}
	for _, version := range versions {
		f.opened.WithLabelValues(version)
	}
	return f, nil
}

const (
	// filesEach is what a connection of a device takes of the limit of open files when
	// nats-server is in the same process: the client's, and both ends of the one to
	// nats-server.
	filesEach = 3
	// spareFiles are for streams, the history and browsers: without them everything else
	// would fail before devices are refused.
	spareFiles = 2000
)

// connectionsWith returns how many devices may connect when a process may open that many
// files, 0 for any number.
func connectionsWith(files uint64) int {
	if files == 0 {
		return math.MaxInt
	}
	return int(max((files-min(spareFiles, files/2))/filesEach, 1))
}

// versions are the names of the levels.
var versions = map[byte]string{level31: "3.1", level311: "3.1.1", level5: "5"}

// Run serves clients until ctx ends. It closes the listener. Then it takes nothing more
// from the clients, waits a moment for what nats-server still has to acknowledge, and
// closes their connections.
func (f *Front) Run(ctx context.Context, listener net.Listener) error {
	if f.direct != nil {
		stop, err := f.direct.listen()
		if err != nil {
			_ = listener.Close()
			return err
		}
		defer stop()
	}
	var sessions sync.WaitGroup
	defer sessions.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer func() {
		stop()
		_ = listener.Close()
	}()
	for pause := time.Duration(0); ; {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept devices: %w", err)
		case err != nil:
			// Such as too many open files.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			f.deps.Log.Warn("a device could not connect", "err", err, "after", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		host, network := address(conn)
		if err := f.limiter.enter(network, time.Now()); err != nil {
			f.refuse(err, "", host)
			_ = conn.Close()
			continue
		}
		sessions.Go(func() {
			defer f.limiter.leave(network)
			f.open.Inc()
			defer f.open.Dec()
			newSession(f, conn, host).serve(ctx)
		})
	}
}

// address returns the address of a client as text, and the network that shares limits with
// it.
func address(conn net.Conn) (string, netip.Prefix) {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		host = conn.RemoteAddr().String()
	}
	return host, brake.Network(host)
}

// refuse counts a client that is refused.
func (f *Front) refuse(err error, client, host string) {
	why, ok := errors.AsType[*refusal](err)
	if !ok {
		return
	}
	f.refused.WithLabelValues(string(why.reason)).Inc()
	f.deps.Refused(Refused{Reason: why.reason, Client: client, Host: host, Why: why.text})
}
