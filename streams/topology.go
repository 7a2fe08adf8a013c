package streams

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the services in keys, subjects and users of nats-server.
const (
	ServiceProvision = "provision"
	ServiceBridge    = "bridge"
	ServiceGateway   = "gateway"
	ServiceProcessor = "processor"
	ServiceNotifier  = "notifier"
	ServiceWriter    = "writer"
	ServiceDashboard = "dashboard"
	ServiceFunctions = "functions"
	// ServiceWorker stands for the programs of people that answer requests of functions.
	ServiceWorker = "worker"
)

// Names of the streams.
const (
	StreamTelemetry   = "TELEMETRY"
	StreamDerived     = "DERIVED"
	StreamAlerting    = "ALERTING"
	StreamDeadLetters = "DEADLETTERS"
	// StreamAudit holds who changed what. Services append to it; nobody can delete from it.
	StreamAudit = "AUDIT"
	// StreamMQTT is nats-server's own stream for messages with QoS 1 and 2, in the account
	// of the devices. It holds commands for devices only. The bridge answers readings,
	// which are in TELEMETRY alone.
	StreamMQTT = "$MQTT_msgs"
	// StreamRetained is nats-server's own stream for retained messages there.
	StreamRetained = "$MQTT_rmsgs"
)

// Names of the key-value buckets, and of the object store for snapshots.
const (
	BucketConfig    = "config"
	BucketSilences  = "silences"
	BucketLeases    = "leases"
	BucketWorkers   = "workers"
	BucketManifests = "manifests"
	BucketDevices   = "devices"
	// BucketAbout has what people say about devices, by AboutKey.
	BucketAbout = "about"
	// BucketBoards has the boards that people arrange, by BoardKey.
	BucketBoards = "boards"
	// StorePlans has the pictures of floor plans.
	StorePlans = "plans"
	// BucketAnnotations has what people write about moments and periods, by AnnotationKey.
	BucketAnnotations = "annotations"
	// BucketCredentials has a key for each credential of a device, and UnknownKey.
	BucketCredentials = "credentials"
	BucketAlerts      = "alerts"
	BucketProblems    = "problems"
	BucketAccounts    = "accounts"
	BucketSessions    = "sessions"
	// BucketPush has the keys of this Headwater as a sender of Web Push, the key that signs
	// links in messages, and the browsers that are notified.
	BucketPush      = "push"
	BucketSnapshots = "snapshots"
	// BucketEdges has, at the centre, the edges and what is known of each, and at an edge
	// how far each stream was sent up.
	BucketEdges = "edges"
)

// Keys of BucketEdges.
const (
	edgeKeyPrefix   = "edge."
	statusKeyPrefix = "status."
	uplinkKeyPrefix = "uplink."
	heldKeyPrefix   = "holdings."
	// EdgeKeys matches the keys of all edges, EdgeStatusKeys those of what is known of them,
	// EdgeHoldingsKeys those of what they hold, UplinkKeys those of the places of an edge
	// itself.
	EdgeKeys         = edgeKeyPrefix + "*"
	EdgeStatusKeys   = statusKeyPrefix + "*"
	EdgeHoldingsKeys = heldKeyPrefix + "*"
	UplinkKeys       = uplinkKeyPrefix + "*"
)

// EdgeKey is the key in BucketEdges of an edge, and EdgeStatusKey that of what is known of
// it. The name must be a valid token.
func EdgeKey(edge string) string { return edgeKeyPrefix + edge }

// EdgeStatusKey belongs to EdgeKey.
func EdgeStatusKey(edge string) string { return statusKeyPrefix + edge }

// EdgeHoldingsKey is the key of what an edge holds. It belongs to EdgeKey.
func EdgeHoldingsKey(edge string) string { return heldKeyPrefix + edge }

// ParseEdgeKey returns the edge of a key of EdgeKeys or EdgeStatusKeys, and whether the key
// is that of the edge itself.
func ParseEdgeKey(key string) (edge string, itself bool) {
	if edge, itself = strings.CutPrefix(key, edgeKeyPrefix); itself {
		return edge, true
	}
	return strings.TrimPrefix(key, statusKeyPrefix), false
}

// UplinkKey is the key in BucketEdges of an Uplink of a stream, as JSON.
func UplinkKey(stream string) string { return uplinkKeyPrefix + stream }

// SummaryUplinkKey is the key in BucketEdges of the Uplink of the summaries of a stream.
func SummaryUplinkKey(stream string) string { return UplinkKey(stream) + "-summaries" }

// Uplink is how far an edge has sent a stream to its centre.
type Uplink struct {
	Incarnation int64  `json:"incarnation"`
	Sequence    uint64 `json:"sequence"`
	Stored      int64  `json:"stored"`
}

// Place is the place in the stream.
func (u Uplink) Place() Place { return Place(u) }

// MaxEdges is the largest number of edges of a centre, MaxEdgeValue the largest value of
// BucketEdges in bytes, and edgesBytes bounds the bucket.
const (
	MaxEdges     = 1000
	MaxEdgeValue = 16 << 10
	edgesBytes   = 32 << 20
)

// ConfigKey is the key in BucketConfig of the rules and channels, as the text that people
// wrote.
const ConfigKey = "config"

// ConfigVersions is how many versions of that text are kept, the current one included.
const ConfigVersions = 64

// SilencesKey is the key in BucketSilences of all silences. They are one text, so that a
// reader sees all of a change or nothing.
const SilencesKey = "silences"

// OverridesKey is the key in BucketSilences of all overrides of rotas, likewise.
const OverridesKey = "overrides"

// HealthKey is the key in BucketSilences of what is wrong with Headwater itself. It is there
// because the notifier takes it in like the others, and raises alerts about it.
const HealthKey = "health"

// handlingPrefix begins the keys of BucketSilences that HandlingKey returns.
const handlingPrefix = "alert."

// HandlingKey is the key in BucketSilences of what people have done about the newest
// episode of an alert. It is in the bucket of the silences because the notifier takes
// both in, in the order in which they were written.
func HandlingKey(alert string) string { return handlingPrefix + alert }

// HandlingKeys matches all of these keys.
const HandlingKeys = handlingPrefix + "*"

// ParseHandlingKey returns the alert of a key of HandlingKey, and whether it is such a
// key.
func ParseHandlingKey(key string) (alert string, ok bool) {
	alert, ok = strings.CutPrefix(key, handlingPrefix)
	return alert, ok && ValidToken(alert)
}

// Keys of BucketCredentials: one for each credential, and one for what becomes of devices
// without any.
const (
	credentialPrefix = "credential."
	UnknownKey       = "unknown"
)

// CredentialKey is the key in BucketCredentials of one credential. The name must be a valid
// token.
func CredentialKey(name string) string { return credentialPrefix + name }

// ParseCredentialKey returns the name of the credential of a key, and whether it is such a
// key.
func ParseCredentialKey(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, credentialPrefix)
	return name, ok && ValidToken(name)
}

// MaxCredentials is the largest number of credentials.
const MaxCredentials = 20_000

// MaxCredential bounds one credential in BucketCredentials, in bytes.
const MaxCredential = 64 << 10

// credentialsBytes bounds BucketCredentials. A usual credential takes half a kilobyte.
const credentialsBytes = 64 << 20

// AccountsKey is the key in BucketAccounts of all users, tokens and links of the
// dashboard. They are one value, so that each change is atomic.
const AccountsKey = "accounts"

// SessionKey is the key in BucketSessions of the session of a user with that hash.
func SessionKey(user, hash string) string { return user + "." + hash }

// SessionAge is how long a session lasts at most, SessionMarkerTTL how long it is
// remembered that one was ended.
const (
	SessionAge       = 30 * 24 * time.Hour
	SessionMarkerTTL = time.Hour
)

// sessionsBytes bounds BucketSessions.
const sessionsBytes = 16 << 20

// Keys of BucketPush: the keys of the sender, and the key that signs links.
const (
	PushKeysKey  = "vapid"
	PushLinksKey = "links"
)

// PushDeviceKey is the key in BucketPush of one browser. The id must be a valid token.
func PushDeviceKey(id string) string { return "device." + id }

// PushUsedKey is the key in BucketPush that a link was used, until it expires.
func PushUsedKey(id string) string { return "used." + id }

// AboutKey is the key in BucketAbout of a device. Both parts must be valid tokens.
func AboutKey(site, device string) string { return site + "." + device }

// ParseAboutKey returns the device of a key of AboutKey, and whether it is such a key.
func ParseAboutKey(key string) (site, device string, ok bool) {
	site, device, ok = strings.Cut(key, ".")
	return site, device, ok && ValidToken(site) && ValidToken(device)
}

// gonePrefix begins the keys of GoneKey. What follows has a dot, so no key of AboutKey does.
const gonePrefix = "gone."

// GoneKey is the key in BucketAbout of what became of a device that people removed. Both parts
// must be valid tokens.
func GoneKey(site, device string) string { return gonePrefix + AboutKey(site, device) }

// ParseGoneKey returns the device of a key of GoneKey, and whether it is such a key.
func ParseGoneKey(key string) (site, device string, ok bool) {
	rest, found := strings.CutPrefix(key, gonePrefix)
	site, device, ok = ParseAboutKey(rest)
	return site, device, found && ok
}

// MaxAbout bounds what people say about one device in BucketAbout, in bytes, and
// aboutBytes the bucket.
const (
	MaxAbout   = 128 << 10
	aboutBytes = 32 << 20
)

// BoardKey is the key in BucketBoards of a board. The id must be a valid token.
func BoardKey(id string) string { return "board." + id }

// ParseBoardKey returns the id of a key of BoardKey, and whether it is such a key.
func ParseBoardKey(key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, "board.")
	return id, ok && ValidToken(id)
}

// PlanKey is the key in BucketBoards of a floor plan. The id must be a valid token.
func PlanKey(id string) string { return "plan." + id }

// ParsePlanKey returns the id of a key of PlanKey, and whether it is such a key.
func ParsePlanKey(key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, "plan.")
	return id, ok && ValidToken(id)
}

// plansBytes bounds StorePlans: a plan keeps its old picture until it has the new one.
const plansBytes = 128 << 20

func plansConfig(o Options) jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket: StorePlans, Description: "The pictures of floor plans.", MaxBytes: plansBytes,
		Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(),
	}
}

// storePlans is what the dashboard needs to store and remove pictures.
func storePlans() []string {
	store := objectStream(StorePlans)
	return join(read(store), []string{"$O." + StorePlans + ".>", api("STREAM.PURGE." + store)})
}

// MaxBoard bounds one board in BucketBoards, in bytes, and boardsBytes the bucket.
const (
	MaxBoard    = 128 << 10
	boardsBytes = 16 << 20
)

// AnnotationKey is the key in BucketAnnotations of an annotation. The id must be a valid token.
func AnnotationKey(id string) string { return "annotation." + id }

// ParseAnnotationKey returns the id of a key of AnnotationKey, and whether it is such a key.
func ParseAnnotationKey(key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, "annotation.")
	return id, ok && ValidToken(id)
}

// MaxAnnotation bounds one annotation in BucketAnnotations, in bytes, and annotationsBytes the
// bucket.
const (
	MaxAnnotation    = 8 << 10
	annotationsBytes = 16 << 20
)

// pushBytes bounds BucketPush, and maxPushValue one value in it. A browser takes half a
// kilobyte.
const (
	pushBytes    = 4 << 20
	maxPushValue = 8 << 10
)

// Names of the durable consumers.
const (
	// ConsumerBridge exists while StreamMQTT holds readings that an earlier version
	// acknowledged and did not store in TELEMETRY yet.
	ConsumerBridge = "bridge"
	// ConsumerWriter reads TELEMETRY for any number of writers.
	ConsumerWriter = "writer"
)

// WriterDerivedConsumer is the durable consumer with which a writer reads one lane of
// DERIVED. That of the first lane has the lane of groups too.
func WriterDerivedConsumer(lane int) string { return "writer-" + strconv.Itoa(lane) }

// SenderConsumer is the durable consumer of ALERTING with which the sender of a channel
// reads what it has to send.
func SenderConsumer(channel string) string { return "sender-" + channel }

// ManifestKey is the key in BucketManifests of the newest snapshot of one lane
// of a service.
func ManifestKey(service string, lane int) string { return service + "." + strconv.Itoa(lane) }

// LeaseKey is the key in BucketLeases of the lease on one lane of a service.
func LeaseKey(service string, lane int) string { return service + "." + strconv.Itoa(lane) }

// ParseLeaseKey returns the lane of the key of a lease.
func ParseLeaseKey(key string) (lane int, err error) {
	_, number, _ := strings.Cut(key, ".")
	lane, err = strconv.Atoi(number)
	if err != nil || lane < 0 {
		return 0, fmt.Errorf("%q is not the key of a lease", key)
	}
	return lane, nil
}

// WorkerKey is the key in BucketWorkers that one worker of a service renews while it
// runs.
func WorkerKey(service, worker string) string { return service + "." + worker }

// ParseWorkerKey returns the worker of a key of BucketWorkers.
func ParseWorkerKey(key string) (worker string, err error) {
	_, worker, found := strings.Cut(key, ".")
	if !found || worker == "" {
		return "", fmt.Errorf("%q is not the key of a worker", key)
	}
	return worker, nil
}

// ServiceKeys matches the keys of one service in BucketLeases, BucketWorkers and
// BucketProblems.
func ServiceKeys(service string) string { return service + ".*" }

// ErrNotReady is returned by Check while a part of the map is missing. The caller waits
// and checks again; Ensure creates what is missing.
var ErrNotReady = errors.New("streams are not set up")

// ErrLanes is returned by Ensure and Check for a number of lanes other than the one that
// the streams were created with. It can't be changed afterwards.
var ErrLanes = errors.New("number of lanes does not match")

// ErrCopies is returned by Ensure and EnsureDevices for a durability with fewer copies than
// the streams have: one process with another profile than the rest must not take copies
// away.
var ErrCopies = errors.New("streams have more copies than the durability asks for")

// lanesMetadata is the key in a stream's metadata that records N.
const lanesMetadata = "headwater-lanes"

// Ages up to which the streams keep what has been processed.
const (
	AgeTelemetry   = 24 * time.Hour
	AgeDerived     = 7 * 24 * time.Hour
	AgeAlerting    = 90 * 24 * time.Hour
	AgeDeadLetters = 30 * 24 * time.Hour
)

// AgeAudit is how long an entry of AUDIT is kept.
const AgeAudit = 366 * 24 * time.Hour

// MaxAuditEntry bounds one entry of AUDIT, in bytes.
const MaxAuditEntry = 16 << 10

// leastAudit bounds AUDIT on a small disk, in bytes: several thousand entries.
const leastAudit = 2 << 20

// MaxMessage bounds one message between services, in bytes. Nats-server's
// max_payload must be at least that.
const MaxMessage = 8 << 20

// MaxDevicePayload bounds one message of a device, in bytes.
const MaxDevicePayload = 256 << 10

// Options are how the streams are created.
type Options struct {
	// Lanes is N. 0 takes the number that the streams were created with, or else the
	// one for Durability: DefaultLanes or ClusterLanes.
	Lanes int
	// Durability decides how many copies there are; empty means one.
	Durability Durability
	// MaxBytes is what all streams together may take on the disk. 0 means
	// DefaultMaxBytes.
	MaxBytes int64
}

// DefaultMaxBytes is the default of Options.MaxBytes.
const DefaultMaxBytes = 8 << 30

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return o
}

// Shares of the disk, in per cent of Options.MaxBytes. DeviceOptions bounds the streams of
// the devices with the rest.
const (
	shareTelemetry   = 54
	shareDerived     = 15
	shareAlerting    = 5
	shareDeadLetters = 5
	shareAudit       = 1
	shareSnapshots   = 5
	shareDevices     = 15
)

func share(total int64, percent int64) int64 { return total / 100 * percent }

func streamConfigs(o Options) []jetstream.StreamConfig {
	metadata := map[string]string{lanesMetadata: strconv.Itoa(o.Lanes)}
	lossless := func(name, description string, percent int64, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: description, Subjects: subjects,
			MaxBytes: share(o.MaxBytes, percent), Discard: jetstream.DiscardNew, MaxMsgSize: MaxMessage,
			Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(), AllowDirect: true,
			Metadata: metadata,
		}
	}
	deadLetters := lossless(StreamDeadLetters, "What could not be processed, with the reason.", shareDeadLetters, DeadLettersAll)
	deadLetters.Discard = jetstream.DiscardOld
	deadLetters.MaxAge = AgeDeadLetters
	return []jetstream.StreamConfig{
		lossless(StreamTelemetry, "Readings of the devices, packed, and the clock.", shareTelemetry, TelemetryAll),
		lossless(StreamDerived, "Window summaries and anomalies.", shareDerived, DerivedAll),
		lossless(StreamAlerting, "Alerts, messages to send and what became of them.", shareAlerting, AlertingAll, DeliveriesAll),
		deadLetters,
	}
}

// auditConfig is the stream of who changed what. Its server refuses to delete messages
// and to purge, even with all rights. When it is full, the oldest entries make room, because a
// change must not fail for lack of space to record it.
func auditConfig(o Options) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: StreamAudit, Description: "Who changed what, when and from where.", Subjects: []string{AuditAll},
		MaxAge: AgeAudit, MaxBytes: max(share(o.MaxBytes, shareAudit), leastAudit), MaxMsgSize: MaxAuditEntry, Discard: jetstream.DiscardOld,
		DenyDelete: true, DenyPurge: true,
		Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(), AllowDirect: true,
	}
}

// leaseTTL is how long a lease, and the key of a worker, last without a renewal. The bridge
// promises to take over from a killed one within 4 s, so it is less than that.
const leaseTTL = 3 * time.Second

// leaseConfigs are the buckets of leases and workers. They are kept in memory: when a
// server is back, the time of their keys has passed anyway.
func leaseConfigs(replicas int) []jetstream.KeyValueConfig {
	bucket := func(name, description string) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{
			Bucket: name, Description: description, History: 1, TTL: leaseTTL,
			Storage: jetstream.MemoryStorage, Replicas: replicas,
		}
	}
	return []jetstream.KeyValueConfig{
		bucket(BucketLeases, "The owners of the lanes."),
		bucket(BucketWorkers, "The workers that may own lanes."),
	}
}

// ProblemsTTL is how long an entry of BucketProblems lasts without a renewal.
const ProblemsTTL = time.Minute

// problemsBytes bounds BucketProblems: each process has one entry.
const problemsBytes = 4 << 20

func bucketConfigs(o Options) []jetstream.KeyValueConfig {
	bucket := func(name, description string, history uint8) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{
			Bucket: name, Description: description, History: history,
			Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(),
		}
	}
	problems := bucket(BucketProblems, "Problems that services report.", 1)
	problems.TTL, problems.MaxBytes = ProblemsTTL, problemsBytes
	sessions := bucket(BucketSessions, "Who has logged in to the dashboard.", 1)
	sessions.TTL, sessions.LimitMarkerTTL, sessions.MaxBytes = SessionAge, SessionMarkerTTL, sessionsBytes
	credentials := bucket(BucketCredentials, "Who may connect as which devices.", 1)
	credentials.MaxBytes, credentials.MaxValueSize = credentialsBytes, MaxCredential
	about := bucket(BucketAbout, "What people say about devices.", 1)
	about.MaxBytes, about.MaxValueSize = aboutBytes, MaxAbout
	boards := bucket(BucketBoards, "Boards that people arrange.", 1)
	boards.MaxBytes, boards.MaxValueSize = boardsBytes, MaxBoard
	annotations := bucket(BucketAnnotations, "What people write about moments and periods.", 1)
	annotations.MaxBytes, annotations.MaxValueSize = annotationsBytes, MaxAnnotation
	push := bucket(BucketPush, "Browsers that are notified, and the keys for it.", 1)
	push.MaxBytes, push.MaxValueSize, push.LimitMarkerTTL = pushBytes, maxPushValue, SessionMarkerTTL
	edges := bucket(BucketEdges, "Edges, what is known of them, and how far this one has sent.", 1)
	edges.MaxBytes, edges.MaxValueSize = edgesBytes, MaxEdgeValue
	functions := bucket(BucketFunctions, "Functions that people deployed, their state and how they do.", 1)
	functions.MaxBytes, functions.MaxValueSize = functionsBytes, MaxFunctionValue
	return append(leaseConfigs(o.Durability.Replicas()), functions, problems, credentials, sessions, push, edges, about, boards, annotations,
		bucket(BucketAccounts, "Who may log in to the dashboard, without passwords.", 1),
		bucket(BucketConfig, "Rules and channels as people wrote them, with earlier versions.", ConfigVersions),
		bucket(BucketSilences, "What people do about alerts, and about which they are not notified.", 1),
		bucket(BucketManifests, "The two newest snapshots of each lane.", 2),
		bucket(BucketDevices, "The devices that were seen.", 1),
		bucket(BucketAlerts, "The alerts after their last transition.", 1),
	)
}

func snapshotsConfig(o Options) jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket: BucketSnapshots, Description: "States of the lanes.",
		MaxBytes: share(o.MaxBytes, shareSnapshots),
		Storage:  jetstream.FileStorage, Replicas: o.Durability.Replicas(),
	}
}

// ackWait is how long a consumer waits for an ack or a progress message until it delivers
// a message again.
const ackWait = 30 * time.Second

// writerAckWait is shorter, because the points that a writer had when it was killed wait
// for as long. Running writers send progress messages all the time.
const writerAckWait = 8 * time.Second

// writerMaxAckPending bounds the messages that all writers together hold.
const writerMaxAckPending = 4096

func writerConsumers(lanes int) map[string][]jetstream.ConsumerConfig {
	durables := map[string][]jetstream.ConsumerConfig{
		StreamTelemetry: {{
			Durable: ConsumerWriter, Description: "Readings on their way into InfluxDB.",
			FilterSubject: TelemetryAll, AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: writerAckWait, MaxDeliver: -1, MaxAckPending: writerMaxAckPending,
		}},
	}
	for lane := range lanes {
		c := jetstream.ConsumerConfig{
			Durable: WriterDerivedConsumer(lane), Description: "Summaries on their way into InfluxDB, in order.",
			FilterSubject: DerivedSubject(lane), AckPolicy: jetstream.AckExplicitPolicy,
			// One at a time, whichever writer has the lease on the lane: a lower revision of a
			// summary must not overwrite a higher one.
			AckWait: writerAckWait, MaxDeliver: -1, MaxAckPending: 1,
		}
		if lane == 0 {
			c.FilterSubject, c.FilterSubjects = "", []string{DerivedSubject(lane), DerivedGroups}
		}
		durables[StreamDerived] = append(durables[StreamDerived], c)
	}
	return durables
}

// SenderConfig is the durable consumer of the sender of one channel. It starts with what
// is committed after its creation: a new channel does not get older messages.
func SenderConfig(channel string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: SenderConsumer(channel), Description: "Messages for one channel, in order.",
		FilterSubject: AlertingAll, AckPolicy: jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy,
		AckWait:       ackWait, MaxDeliver: -1, MaxAckPending: 1,
	}
}

// DeviceOptions are how the streams of nats-server's MQTT are created.
type DeviceOptions struct {
	// Durability decides how many copies there are; empty means one.
	Durability Durability
	// MaxBytes bounds the streams together. 0 takes their share of DefaultMaxBytes.
	MaxBytes int64
}

// DeviceBytes is the share of the devices' streams in the bytes of all streams.
func DeviceBytes(total int64) int64 { return share(total, shareDevices) }

// maxRetained bounds a retained message with its topic, in bytes. Nats-server writes the
// length of a subject in 16 bits: a longer topic of a retained message would corrupt the
// journal of the stream.
const maxRetained = 60 << 10

func deviceConfigs(o DeviceOptions) []jetstream.StreamConfig {
	if o.MaxBytes == 0 {
		o.MaxBytes = DeviceBytes(DefaultMaxBytes)
	}
	return []jetstream.StreamConfig{
		{
			Name: StreamMQTT, Subjects: []string{MQTTCommands}, Retention: jetstream.InterestPolicy,
			MaxBytes: o.MaxBytes / 2, MaxMsgSize: MaxDevicePayload, Discard: jetstream.DiscardNew,
			Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(),
		},
		{
			Name: StreamRetained, Subjects: []string{mqttRetained}, MaxMsgsPerSubject: 1,
			MaxBytes: o.MaxBytes / 2, MaxMsgSize: maxRetained, Discard: jetstream.DiscardNew,
			Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(),
		},
	}
}
