package natsd

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"

	"headwater/streams"
)

//go:embed nats-server.conf.tmpl
var serverTemplate string

// settings are the values in the template of the configuration. Each text is inserted
// unchanged, so it is quoted where necessary.
type settings struct {
	ServerName string
	// Listen and Monitor may be empty; then there is no such listener.
	Listen, Monitor, MQTT string
	StoreDir, Sync        string
	MaxStore              string
	Issuer                string
	// Passwords are plain or hashed.
	Passwords map[User]string
	// TLS takes the certificate from files that the environment names.
	TLS bool
	// Cluster is nil for a single server.
	Cluster *cluster
}

// cluster is how one server reaches the others. Routes is a list.
type cluster struct{ Listen, Password, Routes string }

// MaxPayload bounds one message, in bytes.
func (settings) MaxPayload() int { return streams.MaxMessage }

// MaxPending bounds what waits to be sent to one connection, in bytes.
func (settings) MaxPending() int { return 128 << 20 }

// AnswerTimeout is how long a message of a device waits for its answer.
func (settings) AnswerTimeout() time.Duration { return streams.AnswerTimeout }

// Users lists all users of services.
func (settings) Users() []User { return Users() }

// serviceUser is a service as a user, with its permissions.
type serviceUser struct {
	User User
	streams.Permissions
}

// Services lists the services as users.
func (settings) Services() []serviceUser {
	var users []serviceUser
	for _, service := range streams.Services() {
		if permissions, ok := streams.ServicePermissions(service); ok {
			users = append(users, serviceUser{User: UserOf(service), Permissions: permissions})
		}
	}
	return users
}

// Internal lists the subjects of nats-server's own traffic.
func (settings) Internal() []string { return InternalSubjects() }

// Kicks are the subjects on which the user of the system account may publish, Hears those
// that it may subscribe to.
func (settings) Kicks() []string { return []string{streams.Connections, streams.KickAll} }

// Hears belongs to Kicks.
func (settings) Hears() []string {
	return []string{streams.DeviceDisconnects, streams.SystemInbox + ".>"}
}

// render returns the configuration.
func (s settings) render() (string, error) {
	t, err := template.New("nats-server.conf").Funcs(template.FuncMap{
		// Users of services cannot connect to the port of the devices.
		"user": func(u User) string {
			return fmt.Sprintf("user: %s, password: %s, allowed_connection_types: [ STANDARD, IN_PROCESS ]", u, s.Passwords[u])
		},
		"named": func(name string) User { return User(streams.UserPrefix + name) },
	}).Parse(serverTemplate)
	if err != nil {
		return "", fmt.Errorf("configuration of nats-server: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, s); err != nil {
		return "", fmt.Errorf("configuration of nats-server: %w", err)
	}
	return out.String(), nil
}

// Names of the environment variables that the configuration file of a separate nats-server
// takes its values from.
const (
	EnvListen   = "HEADWATER_NATS_LISTEN"
	EnvMonitor  = "HEADWATER_NATS_MONITOR"
	EnvMQTT     = "HEADWATER_NATS_MQTT"
	EnvStoreDir = "HEADWATER_NATS_STORE"
	EnvMaxStore = "HEADWATER_NATS_MAX_STORE"
	EnvSync     = "HEADWATER_NATS_SYNC"
	EnvIssuer   = "HEADWATER_NATS_ISSUER"
)

// Names of the additional variables of a server of a cluster.
const (
	EnvName          = "HEADWATER_NATS_NAME"
	EnvCluster       = "HEADWATER_NATS_CLUSTER"
	EnvRoutes        = "HEADWATER_NATS_ROUTES"
	EnvRoutePassword = "HEADWATER_NATS_PASSWORD_ROUTES"
)

// RouteUser is the user as which the servers of a cluster connect to each other.
const RouteUser = "routes"

// Names of the additional variables of a server with TLS, all of files in PEM. The
// authority is only for the servers of a cluster, which check one another.
const (
	EnvCert = "HEADWATER_NATS_CERT"
	EnvKey  = "HEADWATER_NATS_KEY"
	EnvCA   = "HEADWATER_NATS_CA"
)

// EnvPassword is the name of the variable that holds the password of a user.
func EnvPassword(u User) string {
	return "HEADWATER_NATS_PASSWORD_" + strings.ToUpper(strings.TrimPrefix(string(u), streams.UserPrefix))
}

// serverName is the name of a single server.
const serverName = "headwater"

// Users lists the users that services connect as.
func Users() []User {
	users := []User{UserCore, UserDevices, UserDevices0, UserAuth, UserSystem}
	for _, service := range streams.Services() {
		users = append(users, UserOf(service))
	}
	return users
}

const fileHeader = `# Configuration of %s. It is made from
# streams/natsd/nats-server.conf.tmpl by "go tool task generate": change it there.
#
# These environment variables must be set:
#
#   HEADWATER_NATS_LISTEN      where services connect, such as 0.0.0.0:4222
#   HEADWATER_NATS_MONITOR     where /healthz answers, such as 127.0.0.1:8222
#   HEADWATER_NATS_MQTT        where devices connect, such as 0.0.0.0:1883
#   HEADWATER_NATS_STORE       folder of the streams
#   HEADWATER_NATS_MAX_STORE   what the folder may hold, in bytes: 115 %% of what
#                              provision's --max-bytes says
#   HEADWATER_NATS_SYNC        always (survives a power cut) or 1s (all but the
#                              last second)
#   HEADWATER_NATS_ISSUER      public key (A...) whose seed the bridge has
#   HEADWATER_NATS_PASSWORD_*  of CORE, DEVICES, DEVICES0, AUTH, SYSTEM and of each
#                              service, such as WRITER; those of bcrypt stand
#                              within double quotes, for they hold $
%s
`

const clusterHeader = `#   HEADWATER_NATS_NAME        name of this server, for good
#   HEADWATER_NATS_CLUSTER     where the other servers connect, such as 0.0.0.0:6222
#   HEADWATER_NATS_PASSWORD_ROUTES  what they log in with; it stands in ROUTES too
#   HEADWATER_NATS_ROUTES      all servers, in brackets, such as
#                              ["nats://routes:PASSWORD@nats-1:6222",
#                              "nats://routes:PASSWORD@nats-2:6222",
#                              "nats://routes:PASSWORD@nats-3:6222"]
`

const secureHeader = `#   HEADWATER_NATS_CERT        file of the certificate, for services, devices and the
#                              other servers
#   HEADWATER_NATS_KEY         file of its key
`

const secureClusterHeader = `#   HEADWATER_NATS_CA          file of the authority of the servers' certificates
`

// further returns the part of the header that not every file has.
func further(clustered, secure bool) string {
	text := ""
	if clustered {
		text += clusterHeader
	}
	if secure {
		text += secureHeader
	}
	if clustered && secure {
		text += secureClusterHeader
	}
	return text
}

// ServerFile returns the configuration file of a single nats-server, with TLS or without.
// What differs between installations comes from the environment.
func ServerFile(secure bool) (string, error) {
	s := fileSettings()
	s.TLS = secure
	s.ServerName = serverName
	text, err := s.render()
	return fmt.Sprintf(fileHeader, "a nats-server that runs by itself", further(false, secure)) + text, err
}

// ClusterFile returns the configuration file of each server of a cluster of three, with TLS
// or without.
func ClusterFile(secure bool) (string, error) {
	s := fileSettings()
	s.TLS = secure
	s.ServerName = "$" + EnvName
	s.Cluster = &cluster{Listen: "$" + EnvCluster, Password: "$" + EnvRoutePassword, Routes: "$" + EnvRoutes}
	text, err := s.render()
	return fmt.Sprintf(fileHeader, "each of three nats-servers of a cluster", further(true, secure)) + text, err
}

// fileSettings are the settings of all servers, from the environment.
func fileSettings() settings {
	s := settings{
		Listen: "$" + EnvListen, Monitor: "$" + EnvMonitor, MQTT: "$" + EnvMQTT,
		StoreDir: "$" + EnvStoreDir, Sync: "$" + EnvSync, MaxStore: "$" + EnvMaxStore, Issuer: "$" + EnvIssuer,
		Passwords: make(map[User]string),
	}
	for _, u := range Users() {
		s.Passwords[u] = "$" + EnvPassword(u)
	}
	return s
}
