// Runs node-postgres for tests: one JSON request a line on standard input, one JSON answer a line on standard output.
'use strict'
const readline = require('node:readline')
const { Client } = require('pg')

const sessions = new Map()

async function connect({ session, options }) {
  const client = new Client({ ...options, connectionTimeoutMillis: 10000, query_timeout: 20000 })
  const state = { client, heard: [], notices: [], wake: () => {} }
  client.on('notification', ({ channel, payload }) => { state.heard.push([channel, payload]); state.wake() })
  client.on('notice', ({ message }) => state.notices.push(message))
  client.on('error', () => {})
  await client.connect()
  sessions.set(session, state)
}

async function notifications(state, count) {
  const deadline = Date.now() + 10000
  while (state.heard.length < count && Date.now() < deadline) {
    await new Promise((resolve) => { state.wake = resolve; setTimeout(resolve, 500) })
  }
  return state.heard.splice(0, count)
}

async function answer(request) {
  if (request.what === 'connect') return connect(request)
  const state = sessions.get(request.session)
  const { sql: text, parameters: values, name } = request
  switch (request.what) {
    case 'query': {
      const result = await state.client.query({ text, values, name, rowMode: 'array' })
      return { rows: result.rows, command: result.command, count: result.rowCount }
    }
    case 'script': await state.client.query(text); return null
    case 'notifications': return notifications(state, request.count)
    case 'notices': return state.notices
    case 'close': sessions.delete(request.session); return state.client.end()
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify({ value: (await answer(JSON.parse(line))) ?? null }))
    } catch (error) {
      console.log(JSON.stringify({ error: error.message, code: error.code ?? null }))
    }
  }
  process.exit(0)
}

main()
