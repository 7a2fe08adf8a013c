// Package natsd runs a nats-server inside the process, with the accounts,
// users and limits that Headwater expects. Standalone and the tests use it; a
// cluster runs nats-server by itself, with the same accounts in its
// configuration file.
//
// Devices live in the account DEVICES and reach nothing else; services live in
// CORE. Whoever connects without being one of the users below is judged by the
// auth callout, which a service answers in the account AUTH: as long as nobody
// answers, no device can log in.
package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"

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
	// UserCore is any service, in CORE.
	UserCore User = "core"
	// UserBridge reads the stream of the devices, in DEVICES.
	UserBridge User = "bridge"
	// UserBridge0 sees what devices publish and nothing of nats-server's own
	// traffic in DEVICES: subjects that begin with "$" and inboxes are withheld.
	UserBridge0 User = "bridge0"
	// UserAuth answers the auth callout, in AUTH.
	UserAuth User = "auth"
	// UserSystem hears which connections of devices ended, and nothing else.
	UserSystem User = "system"
)

// Sync says when a write is forced to the disk.
type Sync string

const (
	// SyncAlways forces every write before it is acknowledged.
	SyncAlways Sync = "always"
	// SyncSecond forces writes once a second.
	SyncSecond Sync = "1s"
)

// ErrAddressInUse is returned by Start when another program listens where
// devices should connect.
var ErrAddressInUse = errors.New("address is in use")

// Config says how the server runs.
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
	// NATS is an address for connections by TCP, host:port; empty means that
	// only this process can connect.
	NATS string
	// Log takes the server's log; nil drops it.
	Log *slog.Logger
}

func (s *Server) configuration(cfg Config) (string, error) {
	public, err := s.issuer.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read the key that signs log-ins: %w", err)
	}
	mqttHost, mqttPort, err := splitAddress(cfg.MQTT)
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
	listen := ""
	if cfg.NATS != "" {
		host, port, err := splitAddress(cfg.NATS)
		if err != nil {
			return "", err
		}
		listen = fmt.Sprintf("host: %q\nport: %d", host, port)
	}
	user := func(u User) string { return fmt.Sprintf("user: %q, password: %q", u, hashed[u]) }
	var withheld strings.Builder
	for _, subject := range InternalSubjects() {
		fmt.Fprintf(&withheld, "%q, ", subject)
	}
	return fmt.Sprintf(`
server_name: headwater
%[1]s
max_payload: %[2]d
# The listener of the devices counts on max_payload too; what a device may
# send is bounded by the stream of the devices.
jetstream {
  store_dir: %[3]q
  sync_interval: %[4]s
  # A little more than all the streams' own limits, for their indexes.
  max_file_store: %[5]d
  # Every subscription of a device with QoS 1 or 2 is a consumer of one stream.
  limits { default_max_consumers: 100000 }
}
accounts {
  SYS { users: [ { %[14]s, permissions { publish { deny: ">" }, subscribe { allow: [ %[15]q ] } } } ] }
  AUTH { users: [ { %[6]s } ] }
  DEVICES {
    jetstream: enabled
    users: [
      { %[7]s }
      { %[8]s, permissions { publish { deny: ">" }, subscribe { deny: [ %[9]s ] } } }
    ]
  }
  CORE { jetstream: enabled, users: [ { %[10]s } ] }
}
system_account: SYS
authorization {
  auth_callout { issuer: %[11]s, account: AUTH, auth_users: [ auth, bridge, bridge0, core, system ] }
  timeout: 2
}
mqtt { host: %[12]q, port: %[13]d }
`, listen, streams.MaxMessage, filepath.ToSlash(cfg.Dir), cfg.Sync, cfg.MaxBytes/100*115,
		user(UserAuth), user(UserBridge), user(UserBridge0), withheld.String(), user(UserCore),
		public, mqttHost, mqttPort, user(UserSystem), streams.DeviceDisconnects), nil
}

// hashed returns the passwords as nats-server wants to have them. They are random
// and live as long as the process, so the least cost is enough.
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

// splitAddress returns host and port for nats-server, which takes -1 for any
// free port.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("address %q: the port is not a number of 0 to 65535", address)
	}
	if port == 0 {
		port = -1
	}
	return host, port, nil
}

// free tells early, and in words, what nats-server would only log.
func free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddressInUse, err)
	}
	return l.Close()
}

// IssuerSeed is the seed of the key that signs answers to the auth callout.
func (s *Server) IssuerSeed() ([]byte, error) { return s.issuer.Seed() }

// Connect opens a connection within the process.
func (s *Server) Connect(user User, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.InProcessServer(s), nats.UserInfo(string(user), s.passwords[user]),
	}, options...)
	nc, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats-server as %s: %w", user, err)
	}
	return nc, nil
}
