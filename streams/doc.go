// Package streams is the map of Headwater: every subject, stream, bucket and
// durable consumer, how to make them and how to check that they are there. It
// is the only place where a subject is spelled out; services build and parse
// subjects with the functions of this package.
//
//	stream        subjects                      written by           read by
//	$MQTT_msgs    $MQTT.msgs.commands.>         nats-server          devices
//	TELEMETRY     telemetry.<lane>.<source>     bridge, gateway      processor, writer, dashboard
//	DERIVED       derived.<lane>                processor            notifier, writer, dashboard
//	ALERTING      alerting.<lane>               notifier             senders, dashboard
//	              deliveries.<channel>          senders              dashboard
//	DEADLETTERS   deadletters.<service>.<reason> all                 people
//
// What else nats-server publishes to $MQTT.msgs.>, the messages of devices with QoS 1
// and 2, the bridge takes and answers when it is stored in TELEMETRY.
//
// Beside the streams, redrive.<service> takes requests to process dead letters
// again; the bridge answers them.
//
// $MQTT_msgs is in the account of the devices, all others in the account of
// the services, which no device can reach.
//
// TELEMETRY, DERIVED and ALERTING refuse new messages when they are full, and
// only the Janitor removes what is old: never anything that a lane, a writer
// or the notifier still needs. DEADLETTERS drops its oldest.
package streams
