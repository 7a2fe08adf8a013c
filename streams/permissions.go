package streams

import (
	"slices"
	"strings"
)

// Permissions are the subjects that a user of nats-server may publish on and
// subscribe to; everything else is denied to it.
type Permissions struct {
	Publish, Subscribe []string
	// Answers allows it to publish to the reply subjects of requests.
	Answers bool
}

// ServicePermissions returns what a service may do in the account of the services, and
// whether there is such a service. An attacker who controls a service can neither write
// what belongs to another one, nor read its answers, nor create or remove streams, but can
// remove consumers of the streams that the service reads.
func ServicePermissions(service string) (Permissions, bool) {
	p, known := map[string]func() Permissions{
		ServiceProvision: provisionPermissions,
		ServiceBridge:    bridgePermissions,
		ServiceGateway:   gatewayPermissions,
		ServiceProcessor: processorPermissions,
		ServiceNotifier:  notifierPermissions,
		ServiceWriter:    writerPermissions,
		ServiceDashboard: dashboardPermissions,
		ServiceFunctions: functionPermissions,
		ServiceWorker:    workerPermissions,
	}[service]
	if !known {
		return Permissions{}, false
	}
	permissions := p()
	if service == ServiceWorker {
		return permissions, true
	}
	permissions.Subscribe = append(permissions.Subscribe, inbox(service)+".>")
	// Every service checks that JetStream and the streams are there.
	permissions.Publish = append(permissions.Publish, api("INFO"), api("STREAM.INFO.*"))
	return permissions, true
}

// Services are the services that have permissions of their own, in a fixed order.
func Services() []string {
	return []string{
		ServiceProvision, ServiceBridge, ServiceGateway, ServiceProcessor, ServiceNotifier, ServiceWriter, ServiceDashboard, ServiceFunctions, ServiceWorker,
	}
}

// UserPrefix begins the names of all users of nats-server that are not devices, so that a
// device may have the name of a service.
const UserPrefix = "headwater-"

// ServiceUser is the user of nats-server that a service is.
func ServiceUser(service string) string { return UserPrefix + service }

// InboxPrefix returns the prefix of the subjects on which a service receives its answers,
// and whether the user is a service. Each service has its own prefix, so that none can
// read the answers of another one.
func InboxPrefix(user string) (prefix string, isService bool) {
	service, found := strings.CutPrefix(user, UserPrefix)
	return inbox(service), found && slices.Contains(Services(), service)
}

func inbox(service string) string { return "_INBOX." + service }

func provisionPermissions() Permissions {
	return Permissions{Publish: join(
		[]string{api(">"), "$JS.ACK.>", "$JS.FC.>"},
		writeBucket(BucketConfig, ">"), writeBucket(BucketLeases, janitorLease), report(ServiceProvision), record(ServiceProvision),
		// Standalone sends up as this user when it is an edge.
		writeBucket(BucketEdges, UplinkKeys),
	)}
}

func bridgePermissions() Permissions {
	return Permissions{
		Answers:   true,
		Subscribe: []string{RedriveSubject(ServiceBridge)},
		Publish: join(
			[]string{
				telemetryPrefix + "*." + string(SourceMQTT), telemetryPrefix + "*." + string(SourceMQTT2),
				telemetryPrefix + "*." + string(SourceMQTT0), telemetryPrefix + "*." + string(SourceRedrive), api("STREAM.MSG.DELETE." + StreamDeadLetters),
			},
			bury(ServiceBridge), read(StreamTelemetry), read(StreamDeadLetters), readBucket(BucketConfig), readBucket(BucketDevices),
			readBucket(BucketCredentials), writeBucket(BucketDevices, ">"), lease(ServiceBridge), report(ServiceBridge), record(ServiceBridge),
		),
	}
}

func gatewayPermissions() Permissions {
	return Permissions{Publish: join(
		[]string{telemetryPrefix + "*." + string(SourceHTTP), telemetryPrefix + "*." + edgePrefix + "*", derivedPrefix + edgePrefix + "*"},
		read(StreamTelemetry), read(StreamDerived), readBucket(BucketEdges), writeBucket(BucketEdges, EdgeKeys), writeBucket(BucketEdges, EdgeStatusKeys), writeBucket(BucketEdges, EdgeHoldingsKeys),
		readBucket(BucketCredentials), readBucket(BucketConfig), readBucket(BucketDevices), writeBucket(BucketDevices, ">"), record(ServiceGateway), report(ServiceGateway),
	)}
}

func processorPermissions() Permissions {
	return Permissions{
		Answers:   true,
		Subscribe: []string{ReplayStart, ReplaySubject("*")},
		Publish: join(
			[]string{DerivedAll}, bury(ServiceProcessor), read(StreamTelemetry), read(StreamDerived),
			lease(ServiceProcessor), snapshots(ServiceProcessor),
		),
	}
}

func notifierPermissions() Permissions {
	return Permissions{Answers: true, Subscribe: []string{ChannelTests}, Publish: join(
		[]string{AlertingAll, DeliveriesAll, api("CONSUMER.RESET." + StreamAlerting + ".>")},
		readBucket(BucketPush), writeBucket(BucketPush, ">"), readBucket(BucketAbout),
		bury(ServiceNotifier), read(StreamDerived), read(StreamAlerting),
		readBucket(BucketAlerts), writeBucket(BucketAlerts, ">"), readBucket(BucketSilences), lease(ServiceNotifier), snapshots(ServiceNotifier),
		report(ServiceNotifier),
		// It raises alerts about what is wrong with Headwater itself.
		writeBucket(BucketSilences, HealthKey), []string{api("CONSUMER.INFO." + StreamTelemetry + "." + ConsumerWriter)},
	)}
}

func writerPermissions() Permissions {
	return Permissions{Publish: join(
		bury(ServiceWriter), read(StreamTelemetry), read(StreamDerived), lease(ServiceWriter),
		readBucket(BucketDevices), writeBucket(BucketDevices, ">"),
	)}
}

func dashboardPermissions() Permissions {
	p := Permissions{Publish: []string{
		api("STREAM.MSG.DELETE." + StreamDeadLetters), api("STREAM.PURGE." + StreamDeadLetters), RedriveSubject("*"),
		ReplayStart, ReplaySubject("*"), ChannelTests, CallSubject("*"),
	}}
	for _, stream := range []string{StreamTelemetry, StreamDerived, StreamAlerting, StreamDeadLetters, StreamAudit} {
		p.Publish = append(p.Publish, read(stream)...)
	}
	for _, bucket := range []string{
		BucketConfig, BucketLeases, BucketWorkers, BucketManifests, BucketDevices, BucketAlerts, BucketSilences, BucketProblems,
		BucketCredentials,
		BucketAccounts, BucketSessions, BucketPush, BucketEdges, BucketAbout, BucketBoards, BucketAnnotations, BucketFunctions,
	} {
		p.Publish = append(p.Publish, readBucket(bucket)...)
	}
	p.Publish = append(p.Publish, writeBucket(BucketConfig, ConfigKey)...)
	p.Publish = append(p.Publish, writeBucket(BucketSilences, SilencesKey)...)
	p.Publish = append(p.Publish, writeBucket(BucketSilences, OverridesKey)...)
	p.Publish = append(p.Publish, writeBucket(BucketSilences, HandlingKeys)...)
	p.Publish = append(p.Publish, writeBucket(BucketPush, ">")...)
	p.Publish = append(p.Publish, writeBucket(BucketEdges, EdgeKeys)...)
	p.Publish = append(p.Publish, writeBucket(BucketAbout, ">")...)
	p.Publish = append(p.Publish, writeBucket(BucketBoards, BoardKey("*"))...)
	p.Publish = append(p.Publish, writeBucket(BucketBoards, PlanKey("*"))...)
	p.Publish = append(p.Publish, storePlans()...)
	p.Publish = append(p.Publish, writeBucket(BucketAnnotations, AnnotationKey("*"))...)
	p.Publish = append(p.Publish, writeBucket(BucketFunctions, FunctionsDeclared)...)
	p.Publish = append(p.Publish, storeFunctions()...)
	p.Publish = append(p.Publish, writeBucket(BucketDevices, ">")...)
	p.Publish = append(p.Publish, record(ServiceDashboard)...)
	p.Publish = append(p.Publish, writeBucket(BucketCredentials, ">")...)
	p.Publish = append(p.Publish, writeBucket(BucketAccounts, AccountsKey)...)
	p.Publish = append(p.Publish, writeBucket(BucketSessions, SessionKey("*", "*"))...)
	return p
}

func api(request string) string { return "$JS.API." + request }

// read is what a service needs to read a stream, by consumers or message by message.
func read(stream string) []string {
	return []string{
		api("STREAM.MSG.GET." + stream), api("DIRECT.GET." + stream), api("DIRECT.GET." + stream + ".>"),
		api("CONSUMER.CREATE." + stream + ".>"), api("CONSUMER.CREATE." + stream), api("CONSUMER.DURABLE.CREATE." + stream + ".>"),
		api("CONSUMER.INFO." + stream + ".>"), api("CONSUMER.LIST." + stream), api("CONSUMER.NAMES." + stream),
		api("CONSUMER.MSG.NEXT." + stream + ".>"), api("CONSUMER.DELETE." + stream + ".>"),
		"$JS.ACK." + stream + ".>", "$JS.FC." + stream + ".>",
	}
}

// Streams behind buckets and object stores, and the subjects of their keys.
func bucketStream(bucket string) string { return "KV_" + bucket }
func objectStream(bucket string) string { return "OBJ_" + bucket }

func readBucket(bucket string) []string { return read(bucketStream(bucket)) }

func writeBucket(bucket, keys string) []string { return []string{"$KV." + bucket + "." + keys} }

// bury is what a service needs for its dead letters.
func bury(service string) []string { return []string{DeadLetterSubject(service, "*")} }

// record is what a service needs to record changes in AUDIT.
func record(service string) []string { return []string{AuditSubject(service)} }

// report is what a service needs to report problems to the dashboard.
func report(service string) []string { return writeBucket(BucketProblems, ServiceKeys(service)) }

// lease is what a service needs to hold lanes. Any service may recreate the buckets of
// leases and workers.
func lease(service string) []string {
	var p []string
	for _, bucket := range []string{BucketLeases, BucketWorkers} {
		p = append(p, api("STREAM.CREATE."+bucketStream(bucket)))
		p = join(p, readBucket(bucket), writeBucket(bucket, ServiceKeys(service)))
	}
	return p
}

// snapshots is what a service needs for its snapshots, and for the configuration that its
// state depends on.
func snapshots(service string) []string {
	store := objectStream(BucketSnapshots)
	return join(
		readBucket(BucketConfig), readBucket(BucketManifests), writeBucket(BucketManifests, ServiceKeys(service)),
		writeBucket(BucketManifests, lossKey(service, "*")),
		read(store), []string{"$O." + BucketSnapshots + ".>", api("STREAM.PURGE." + store)},
	)
}

func join(parts ...[]string) []string {
	var all []string
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}
