// Plays clients of MQTT.js for tests, see process_test.go.
const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

const say = (...fields) => process.stdout.write(fields.join('\t') + '\n')
const answer = (err) => (err ? say('error', err.message || err) : say('ok'))

let client

const commands = {
  connect(url, version, id, persist, ca, will, payload, qos, retain) {
    const v5 = version === '5.0'
    client = mqtt.connect(url.replace(/^tcp/, 'mqtt').replace(/^tls/, 'mqtts'), {
      protocolVersion: v5 ? 5 : 4,
      clientId: id,
      clean: persist === '0',
      ca: fs.readFileSync(ca),
      reconnectPeriod: 0,
      resubscribe: false,
      will: will && { topic: will, payload, qos: Number(qos), retain: retain === '1' },
      properties: v5 && persist === '1' ? { sessionExpiryInterval: 3600 } : undefined,
    })
    client.once('error', answer)
    client.once('connect', (connack) => {
      say('ok', Number(connack.sessionPresent))
      client.off('error', answer).on('error', console.error)
    })
    client.on('message', (topic, payload, packet) => {
      const p = packet.properties || {}
      const user = []
      for (const [name, values] of Object.entries(p.userProperties || {})) {
        for (const value of [].concat(values)) user.push(name, value)
      }
      say('message', topic, payload, packet.qos, Number(packet.retain), p.messageExpiryInterval || 0, p.contentType || '', ...user)
    })
  },

  subscribe(filter, qos) {
    client.subscribe(filter, { qos: Number(qos) }, answer)
  },

  publish(topic, payload, qos, retain, expiry, contentType, ...user) {
    const properties = {}
    if (user.length) properties.userProperties = {}
    if (expiry !== '0') properties.messageExpiryInterval = Number(expiry)
    if (contentType) properties.contentType = contentType
    for (let i = 0; i < user.length; i += 2) (properties.userProperties[user[i]] ||= []).push(user[i + 1])
    client.publish(topic, payload, { qos: Number(qos), retain: retain === '1', properties }, answer)
  },

  disconnect() {
    client.end(false, {}, answer)
  },
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [command, ...fields] = line.split('\t')
    commands[command](...fields)
  })
  .on('close', () => process.exit())
