// Package natsd runs a nats-server inside the process, with the accounts, users and limits
// that Headwater needs. Standalone and the tests use it. A separate nats-server has a
// configuration file from the same template (ServerFile).
//
// Devices are in the account DEVICES and reach nothing else; services are in CORE. The auth
// callout decides about all clients that are not among the users below. A service answers
// it in the account AUTH; while none does, no device can log in.
package natsd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"headwater/streams"
)

// Names of the accounts.
const (
	AccountCore    = "CORE"
	AccountDevices = "DEVICES"
	AccountAuth    = "AUTH"
	accountSystem  = "SYS"
)

// User is a connection of a service to one of the accounts.
type User string

const (
	// UserCore may do everything in CORE, for people and tests. A service connects as
	// UserOf its name.
	UserCore User = streams.UserPrefix + "core"
	// UserDevices hears and answers what devices publish with QoS 1 and 2, in
	// DEVICES, for the bridge.
	UserDevices User = streams.UserPrefix + "devices"
	// UserDevices0 hears what devices publish, and nothing of nats-server's own traffic in
	// DEVICES: it may not subscribe to subjects that begin with "$", nor to inboxes.
	UserDevices0 User = streams.UserPrefix + "devices0"
	// UserAuth answers the auth callout, in AUTH.
	UserAuth User = streams.UserPrefix + "auth"
	// UserSystem hears which connections of devices ended, and closes those of revoked
	// devices; nothing else.
	UserSystem User = streams.UserPrefix + "system"
)

// UserOf is a service in CORE, where it has only the permissions that it needs.
func UserOf(service string) User { return User(streams.ServiceUser(service)) }

// Sync is when a write is forced to the disk.
type Sync string

const (
	// SyncAlways forces every write before it is acknowledged.
	SyncAlways Sync = "always"
	// SyncSecond forces writes once a second.
	SyncSecond Sync = "1s"
	// SyncUnsafe is nats-server's own default, with which a power cut takes the messages of
	// two minutes. It is only for proving that a test sees such a loss.
	SyncUnsafe Sync = "120s"
)

// ErrAddressInUse is returned by Start when another program listens on the address for
// devices.
var ErrAddressInUse = errors.New("address is in use")

// Config is how the server runs.
type Config struct {
	// Dir holds the streams.
	Dir string
	// Sync is when a write is forced to the disk; SyncAlways when empty.
	Sync Sync
	// MaxBytes is what all streams together may take on the disk; 0 means
	// streams.DefaultMaxBytes.
	MaxBytes int64
	// MQTT is the address on which devices connect, host:port. Port 0 takes any
	// free one.
	MQTT string
	// TLS, if not nil, is for the connections of devices. PlainToo takes those without
	// TLS on the same port. Refused, if not nil, is called for each handshake that fails;
	// it must not block.
	TLS      *tls.Config
	PlainToo bool
	Refused  func(error)
	// NATS is an address for connections by TCP, host:port; empty means that
	// only this process can connect.
	NATS string
	// Log gets the server's log; nil drops it.
	Log *slog.Logger
}

// fixedBytes is what buckets of a fixed size may take, such as those of credentials,
// sessions, functions and floor plans. Nats-server reserves it, however small the disk is.
const fixedBytes = 512 << 20

func (s *Server) configuration(cfg Config) (string, error) {
	public, err := s.issuer.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key that signs log-ins: %w", err)
	}
	mqtt, err := listenAddress(cfg.MQTT)
	if err != nil {
		return "", err
	}
	if cfg.Sync == "" {
		cfg.Sync = SyncAlways
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = streams.DefaultMaxBytes
	}
	hashed, err := s.hashed()
	if err != nil {
		return "", err
	}
	for u, hash := range hashed {
		hashed[u] = strconv.Quote(hash)
	}
	out := settings{
		ServerName: serverName, MQTT: strconv.Quote(mqtt), Issuer: public, Passwords: hashed,
		StoreDir: strconv.Quote(filepath.ToSlash(cfg.Dir)), Sync: string(cfg.Sync),
		MaxStore: strconv.FormatInt(cfg.MaxBytes/100*115+fixedBytes, 10),
	}
	if cfg.NATS != "" {
		listen, err := listenAddress(cfg.NATS)
		if err != nil {
			return "", err
		}
		out.Listen = strconv.Quote(listen)
	}
	return out.render()
}

// hashed returns the passwords as hashes for nats-server. They are random and live as long
// as the process, so the least cost is enough.
func (s *Server) hashed() (map[User]string, error) {
	out := make(map[User]string)
	for user, password := range s.passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return nil, fmt.Errorf("hash the password of %s: %w", user, err)
		}
		out[user] = string(hash)
	}
	return out, nil
}

// InternalSubjects are the subjects of nats-server's own traffic within an
// account: no device may publish on them.
func InternalSubjects() []string {
	return []string{"$JS.>", "$MQTT.>", "$SYS.>", "$KV.>", "$O.>", "$SRV.>", "$JSC.>", "$NRG.>", "$GR.>", "_INBOX.>", "_R_.>", "_GR_.>"}
}

// listenAddress returns an address for nats-server, for which -1 is any free port.
func listenAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", address, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("address %q: the port is not a number of 0 to 65535", address)
	}
	if number == 0 {
		port = "-1"
	}
	return net.JoinHostPort(host, port), nil
}

// free returns an error when the address is in use. Nats-server would only log it, later.
func free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddressInUse, err)
	}
	return l.Close()
}

// IssuerSeed is the seed of the key that signs answers to the auth callout.
func (s *Server) IssuerSeed() ([]byte, error) { return s.issuer.Seed() }

// Inbox sets the prefix of the subjects on which a service receives answers. Other users
// keep the default.
func Inbox(user User) nats.Option {
	if prefix, isService := streams.InboxPrefix(string(user)); isService {
		return nats.CustomInboxPrefix(prefix)
	}
	return func(*nats.Options) error { return nil }
}

// Connect opens a connection within the process.
func (s *Server) Connect(user User, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.InProcessServer(s), nats.UserInfo(string(user), s.passwords[user]), Inbox(user),
	}, options...)
	nc, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats-server as %s: %w", user, err)
	}
	return nc, nil
}
