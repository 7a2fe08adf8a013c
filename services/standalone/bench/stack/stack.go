//go:build linux

package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest/ports"
)

// Names of the programs. A node of the stack has the name of its program, with a number
// where several may run: writer-0.
const (
	NATS      = "nats-server"
	Influx    = "influxd"
	Provision = "provision"
	Bridge    = "bridge"
	Gateway   = "gateway"
	Processor = "processor"
	Writer    = "writer"
	Notifier  = "notifier"
	Dashboard = "dashboard"
)

// Build compiles every program into the folder, and creates the folder. It must be
// called in the workspace, and needs the go command. Programs that are up to date are
// not built again.
func Build(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder of the programs: %w", err)
	}
	packages := []string{"headwater/services/standalone/bench/influxd", "github.com/nats-io/nats-server/v2"}
	for _, name := range []string{Provision, Bridge, Gateway, Processor, Writer, Notifier, Dashboard} {
		packages = append(packages, "headwater/services/cmd/"+name)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// Config says how a stack runs.
type Config struct {
	// Bin is the folder that was given to Build.
	Bin string
	// Dir is the folder for data, logs and secrets. It must be empty at first, and is not
	// removed.
	Dir string
	// ServerFile is the configuration file of nats-server; empty means the one of
	// deploy/nats.
	ServerFile string
	// Sync is when nats-server forces writes to the disk.
	Sync natsd.Sync
	// MaxBytes is what all streams together may take; 0 means
	// streams.DefaultMaxBytes.
	MaxBytes int64
	// NATSDir and InfluxDir are where the servers keep their data; empty means
	// below Dir.
	NATSDir, InfluxDir string
	// Lanes is the number of lanes; 0 means the default.
	Lanes int
	// Rules is the configuration of rules and channels, as YAML.
	Rules string
	// Fronts has each bridge run a front for devices.
	Fronts bool
	// Nodes is the number of nodes of each program; 1 for those that it leaves out.
	Nodes map[string]int
	// Flags are additional arguments of each program.
	Flags map[string][]string
}

// Stack is a set of processes. Its methods may be called by several goroutines
// at once.
type Stack struct {
	cfg       Config
	spawner   *spawner
	passwords map[natsd.User]string
	issuer    string
	nodes     []*Node

	// Addresses, host:port each.
	NATSAddress, MonitorAddress, MQTTAddress, InfluxAddress, GatewayAddress, DashboardAddress string
	// BridgeNATS is the address of nats-server for the bridges, and WriterInflux that of
	// InfluxDB for the writers. They may be changed before the first start, to put a proxy
	// in between.
	BridgeNATS, WriterInflux string
}

// New prepares a stack: addresses, secrets, folders. It starts nothing. The caller closes
// the stack.
func New(cfg Config) (*Stack, error) {
	s := &Stack{cfg: cfg, passwords: make(map[natsd.User]string), spawner: newSpawner()}
	if err := s.prepare(); err != nil {
		s.spawner.stop()
		return nil, fmt.Errorf("prepare the stack: %w", err)
	}
	return s, nil
}

func (s *Stack) prepare() error {
	cfg := &s.cfg
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = streams.DefaultMaxBytes
	}
	if cfg.Sync == "" {
		cfg.Sync = natsd.SyncAlways
	}
	if cfg.NATSDir == "" {
		cfg.NATSDir = s.path("nats")
	}
	if cfg.InfluxDir == "" {
		cfg.InfluxDir = s.path("influxdb")
	}
	for _, dir := range []string{"logs", "secrets"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	addresses := []*string{
		&s.NATSAddress, &s.MonitorAddress, &s.MQTTAddress, &s.InfluxAddress, &s.GatewayAddress, &s.DashboardAddress,
	}
	reserved, err := ports.Reserve(len(addresses))
	if err != nil {
		return err
	}
	for i, address := range addresses {
		*address = reserved[i]
	}
	s.BridgeNATS, s.WriterInflux = s.NATSAddress, s.InfluxAddress
	if err := s.secrets(); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("rules.yaml"), []byte(cfg.Rules), 0o600); err != nil {
		return err
	}
	if cfg.ServerFile == "" {
		cfg.ServerFile = s.path("nats-server.conf")
		text, err := natsd.ServerFile(false)
		if err != nil {
			return err
		}
		if err := os.WriteFile(cfg.ServerFile, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return s.populate()
}

// populate creates the nodes, in the order in which they start.
func (s *Stack) populate() error {
	for _, program := range []string{NATS, Influx, Provision, Writer, Notifier, Processor, Gateway, Dashboard, Bridge} {
		count, several := s.cfg.Nodes[program]
		if !several {
			count = 1
		}
		admin, err := ports.Reserve(count)
		if err != nil {
			return err
		}
		for i := range count {
			name := program
			if several {
				name += "-" + strconv.Itoa(i)
			}
			n := &Node{Name: name, Program: program, stack: s, admin: admin[i]}
			if s.cfg.Fronts && program == Bridge {
				front, err := ports.Reserve(1)
				if err != nil {
					return err
				}
				n.front = front[0]
			}
			s.nodes = append(s.nodes, n)
		}
	}
	return nil
}

// secrets creates random passwords and keys.
func (s *Stack) secrets() error {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		return err
	}
	seed, err := issuer.Seed()
	if err != nil {
		return err
	}
	s.issuer, err = issuer.PublicKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.secret("issuer"), seed, 0o600); err != nil {
		return err
	}
	for _, user := range natsd.Users() {
		// The first letter keeps nats-server from reading the password as a number.
		s.passwords[user] = "p" + rand.Text()
		if err := os.WriteFile(s.secret(string(user)), []byte(s.passwords[user]), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) path(name string) string   { return filepath.Join(s.cfg.Dir, name) }
func (s *Stack) secret(name string) string { return s.path(filepath.Join("secrets", name)) }

// Nodes returns the nodes of a program, or all nodes if program is empty, in the order
// in which they start.
func (s *Stack) Nodes(program string) []*Node {
	var out []*Node
	for _, n := range s.nodes {
		if program == "" || n.Program == program {
			out = append(out, n)
		}
	}
	return out
}

// MQTT returns the addresses on which devices may connect: that of nats-server, and those of
// the fronts.
func (s *Stack) MQTT() []string {
	all := []string{s.MQTTAddress}
	for _, n := range s.Nodes(Bridge) {
		if n.front != "" {
			all = append(all, n.front)
		}
	}
	return all
}

// Node returns the first node of a program.
func (s *Stack) Node(program string) *Node { return s.Nodes(program)[0] }

// Start starts every node that is not in except and waits until all are ready.
func (s *Stack) Start(ctx context.Context, except ...*Node) error {
	for _, n := range s.nodes {
		if contains(except, n) {
			continue
		}
		if err := n.Start(); err != nil {
			return err
		}
		if n.Program == NATS || n.Program == Influx || n.Program == Provision {
			if err := n.Await(ctx); err != nil {
				return err
			}
		}
	}
	return s.Await(ctx)
}

func contains(nodes []*Node, n *Node) bool {
	return slices.Contains(nodes, n)
}

// Await waits until every node that should run is ready.
func (s *Stack) Await(ctx context.Context) error {
	for _, n := range s.nodes {
		if !n.Wanted() {
			continue
		}
		if err := n.Await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close stops every process, sources before sinks. Each has the grace to drain, and is
// killed after it.
func (s *Stack) Close(grace time.Duration) error {
	defer s.spawner.stop()
	var errs []error
	for i := len(s.nodes) - 1; i >= 0; i-- {
		errs = append(errs, s.nodes[i].Stop(grace))
	}
	return errors.Join(errs...)
}

// Connect opens a direct connection to nats-server, without a proxy.
func (s *Stack) Connect(user natsd.User, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.UserInfo(string(user), s.passwords[user]), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(true),
	}, options...)
	return nats.Connect("nats://"+s.NATSAddress, options...)
}

// environment returns the environment variables that nats-server reads.
func (s *Stack) environment() []string {
	env := []string{
		natsd.EnvListen + "=" + s.NATSAddress, natsd.EnvMonitor + "=" + s.MonitorAddress, natsd.EnvMQTT + "=" + s.MQTTAddress,
		natsd.EnvStoreDir + "=" + s.cfg.NATSDir, natsd.EnvMaxStore + "=" + strconv.FormatInt(s.cfg.MaxBytes/100*115, 10),
		natsd.EnvSync + "=" + string(s.cfg.Sync), natsd.EnvIssuer + "=" + s.issuer,
	}
	for user, password := range s.passwords {
		env = append(env, natsd.EnvPassword(user)+"="+password)
	}
	return env
}

// arguments returns the command line of a node.
func (s *Stack) arguments(n *Node) []string {
	services := func(address string, more ...string) []string {
		return append([]string{
			"--admin", n.admin, "--nats", "nats://" + address, "--nats-password-file", s.secret(string(natsd.UserOf(n.Program))),
		}, more...)
	}
	var out []string
	switch n.Program {
	case NATS:
		out = []string{"-c", s.cfg.ServerFile}
	case Influx:
		out = []string{"--data", s.cfg.InfluxDir, "--listen", s.InfluxAddress}
	case Provision:
		out = services(s.NATSAddress, "--config", s.path("rules.yaml"), "--max-bytes", strconv.FormatInt(s.cfg.MaxBytes, 10),
			"--lanes", strconv.Itoa(s.cfg.Lanes))
	case Bridge:
		out = services(s.BridgeNATS, "--issuer-seed-file", s.secret("issuer"),
			"--devices-password-file", s.secret(string(natsd.UserDevices)), "--devices0-password-file", s.secret(string(natsd.UserDevices0)),
			"--auth-password-file", s.secret(string(natsd.UserAuth)), "--system-password-file", s.secret(string(natsd.UserSystem)),
			"--devices-max-bytes", strconv.FormatInt(streams.DeviceBytes(s.cfg.MaxBytes), 10))
		if n.front != "" {
			out = append(out, "--mqtt-listen", n.front, "--mqtt-server", s.MQTTAddress)
		}
	case Gateway:
		out = services(s.NATSAddress, "--http", s.GatewayAddress)
	case Writer:
		out = services(s.NATSAddress, "--influx-url", "http://"+s.WriterInflux)
	case Dashboard:
		out = services(s.NATSAddress, "--http", s.DashboardAddress, "--influx-url", "http://"+s.InfluxAddress,
			"--devices-password-file", s.secret(string(natsd.UserDevices)))
	default:
		out = services(s.NATSAddress)
	}
	return append(out, s.cfg.Flags[n.Program]...)
}
