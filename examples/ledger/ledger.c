/*
 * ledger.c
 *		An extension whose accounts are durable actors in C.
 *
 * An account is paid into, and pays into others; what it pays is written to
 * the table ledger.payment as well.  Whatever happens to the server, the
 * account, the table and the receiver agree.
 */
#include "postgres.h"

#include "dlog/durable.h"

PG_MODULE_MAGIC;

/* What an account is told; each is a type of that name in SQL. */
DLOG_DURABLE_MESSAGE(Deposit, "ledger.deposit", value(int64, amount));
DLOG_DURABLE_MESSAGE(Pay, "ledger.pay", value(DlogRef, receiver), value(int64, amount), value(DlogText, why));
DLOG_DURABLE_MESSAGE(GetBalance, "ledger.get_balance");
DLOG_DURABLE_MESSAGE(Balance, "ledger.balance", value(int64, amount), value(int32, payments));

typedef struct AccountState
{
	int64 balance;
	int32 payments;
} AccountState;

#define ACCOUNT_TAKES Deposit, Pay, GetBalance
DLOG_DURABLE_BEHAVIOR(Account, AccountState, ACCOUNT_TAKES);

DLOG_SERIALIZE(Account)
{
	pq_sendint64(bytes, state->balance);
	pq_sendint32(bytes, state->payments);
}

DLOG_DESERIALIZE(Account)
{
	state->balance = pq_getmsgint64(bytes);
	state->payments = (int32) pq_getmsgint(bytes, 4);
}

DLOG_APPLY(Account, Deposit)
{
	state->balance += message->amount;
}

/* What happens once, when the message is handled. */
DLOG_DURABLE_HANDLER(Account, Pay)
{
	Oid types[2] = {INT8OID, TEXTOID};
	Datum values[2] = {Int64GetDatum(message->amount), (Datum) 0};

	if (message->amount > state->balance)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("there is too little in the account")));
	SPI_connect();
	if (message->why.data != NULL)
		values[1] = CStringGetTextDatum(message->why.data);
	SPI_execute_with_args("INSERT INTO ledger.payment (amount, why) VALUES ($1, $2)", 2, types, values,
						  message->why.data == NULL ? " n" : "  ", false, 0);
	SPI_finish();
	dlog_durable_send(DLOG_DURABLE_REF(Account, message->receiver), Deposit, .amount = message->amount);
}

/* What is repeated in a replay. */
DLOG_APPLY(Account, Pay)
{
	state->balance -= message->amount;
	state->payments++;
}

DLOG_DURABLE_HANDLER(Account, GetBalance)
{
	dlog_durable_reply(Balance, .amount = state->balance, .payments = state->payments);
}

DLOG_APPLY(Account, GetBalance)
{
	/* it stays as it is */
}

DLOG_IMPLEMENT_DURABLE(Account, ACCOUNT_TAKES);
