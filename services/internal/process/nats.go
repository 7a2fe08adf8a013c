package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// NATSConfig says how a service connects to nats-server.
type NATSConfig struct {
	NATS         string `name:"nats" help:"URLs of nats-server, separated by commas." default:"nats://127.0.0.1:4222"`
	NATSUser     string `name:"nats-user" help:"User of the services' account." default:"${nats_user=headwater-core}"`
	NATSPassword string `name:"nats-password-file" help:"File that holds the user's password." type:"existingfile"`
	NATSCA       string `name:"nats-ca" help:"File of the authority, in PEM, of nats-server's certificate, for tls://; without it those that the system trusts." type:"existingfile" placeholder:"FILE"`
}

// natsSchemes are the schemes that nats.go supports.
var natsSchemes = []string{"nats", "tls", "ws", "wss"}

// Validate returns an error for every invalid address, joined. The errors do not quote
// the addresses, which may contain passwords.
func (c NATSConfig) Validate() error {
	var errs []error
	for i, text := range strings.Split(c.NATS, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		if at, err := url.Parse(text); err != nil || at.Hostname() == "" || !slices.Contains(natsSchemes, at.Scheme) {
			errs = append(errs, fmt.Errorf("--nats: address %d must be like nats://127.0.0.1:4222 (or tls://, ws://, wss://)", i+1))
		}
	}
	return errors.Join(errs...)
}

// DevicesConfig is how a service reaches the stream of the devices, which is in
// an account of its own.
type DevicesConfig struct {
	DevicesUser     string `help:"User of the devices' account that reads their stream." default:"headwater-devices"`
	DevicesPassword string `name:"devices-password-file" help:"File that holds its password." type:"existingfile"`
}

// At returns how to connect to that account of the nats-server of the services.
func (c DevicesConfig) At(services NATSConfig) NATSConfig {
	return NATSConfig{NATS: services.NATS, NATSUser: c.DevicesUser, NATSPassword: c.DevicesPassword, NATSCA: services.NATSCA}
}

// reconnectWait is the pause between attempts to reconnect, with jitter added.
const reconnectWait = 500 * time.Millisecond

// A server that does not answer pingsLost pings in a row counts as gone: the connection
// is lost, and the process unready, within pingEvery*(pingsLost+1).
const (
	pingEvery = 3 * time.Second
	pingsLost = 2
)

// complainEvery is how often it is logged that no server can be reached.
const complainEvery = 30 * time.Second

// NATSOptions returns the options of every connection of the process: it reconnects
// without end and logs what happens to it.
func NATSOptions(name string, log *slog.Logger) []nats.Option {
	var complained atomic.Int64 // in nanoseconds since the Unix epoch
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsLost),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost the connection to NATS", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			// The first error only says that there is no server; the next ones say why.
			if errors.Is(err, nats.ErrNoServers) {
				return
			}
			if now := time.Now().UnixNano(); now-complained.Load() >= int64(complainEvery) {
				complained.Store(now)
				log.Warn("cannot reach NATS; trying again", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			complained.Store(0)
			log.Info("reconnected to NATS")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("error on the connection to NATS", "subject", subject, "err", err)
		}),
	}
}

// maxPublishPending bounds the messages of one connection that are published and not
// yet acknowledged.
const maxPublishPending = 4096

// publishTimeout is how long a message without an answer counts as pending: a stream on
// a full disk never answers.
const publishTimeout = 30 * time.Second

// JetStream wraps a connection.
func JetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPublishPending),
		jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

// Connect opens the connection of a service and its JetStream. The caller
// drains the connection.
func (p *Process) Connect(cfg NATSConfig, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	options = append(NATSOptions("headwater-"+p.Name, p.Log), options...)
	if cfg.NATSPassword != "" {
		secret, err := ReadSecret(cfg.NATSPassword)
		if err != nil {
			return nil, nil, err
		}
		options = append(options, nats.UserInfo(cfg.NATSUser, secret))
		if prefix, isService := streams.InboxPrefix(cfg.NATSUser); isService {
			// It may subscribe to answers under its own prefix only.
			options = append(options, nats.CustomInboxPrefix(prefix))
		}
	}
	if cfg.NATSCA != "" {
		// The file is read again for each connection.
		options = append(options, nats.RootCAs(cfg.NATSCA))
	}
	options = append(options, nats.RetryOnFailedConnect(true))
	nc, err := nats.Connect(strings.TrimSpace(cfg.NATS), options...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS at %s: %w", cfg.NATS, err)
	}
	js, err := JetStream(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	p.Health.Add("nats", func() error {
		if status := nc.Status(); status != nats.CONNECTED {
			return fmt.Errorf("connection to NATS is %s", strings.ToLower(status.String()))
		}
		return nil
	})
	return nc, js, nil
}
